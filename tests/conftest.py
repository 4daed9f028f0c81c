"""Settings of all tests: strict promotion, as library code must run under it; caches apart."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # else this is a worker, which shares it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="subspace-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# A quarter faster to compile; in every process, as programs made otherwise differ in last bits.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, in subprocesses too

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.devices()  # from now on no command line makes others


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Decoded datasets go to a folder of this session, in subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSPACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
