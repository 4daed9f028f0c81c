"""Download a TensorFlow Datasets set, or say in a few seconds why that can't be done."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import queue
import re
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from subspace.errors import InvalidInput

TENSORFLOW_EXTRA = "pip install 'subspace-jax[tensorflow]'"
_ELSEWHERE = "prepare it elsewhere and pass its directory as data_dir (--data-dir)"
_NETWORK_SECONDS = 3.0


def prepare(name: str, check: Callable[[Any], object]) -> Any:
    """Download and prepare a dataset in TFDS's own directory, as array_record files.

    Args:
        name: of a dataset that TFDS knows, ``name[/config][:version]``.
        check: raises ``InvalidInput`` if the builder isn't one we can use; called before the
            download.

    Returns:
        The prepared ``tfds.core.DatasetBuilder``.

    Raises:
        InvalidInput: without a network (found out within 3 s), without TensorFlow, or if TFDS
            can't build, fetch or convert the dataset.
    """
    builder = _new_builder(name)
    check(builder)
    if not _online(_hosts(builder)):
        raise InvalidInput(
            "dataset", f"{name!r} needs a download but there is no network; {_ELSEWHERE}"
        )
    if not has_tensorflow():
        raise InvalidInput("dataset", _needs_tensorflow(name))
    return _download(builder, name)


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; doesn't import it."""
    return importlib.util.find_spec("tensorflow") is not None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back TFDS's warnings and what it prints; exceptions pass."""
    from absl import logging

    verbosity = logging.get_verbosity()
    sink = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        warnings.simplefilter("ignore")
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)


def one_line(error: Exception, limit: int = 160) -> str:
    """What an exception says, in one line of at most ``limit`` characters."""
    text = re.sub(r'^Failed to construct dataset.*?}": ', "", " ".join(str(error).split()))
    text = text.rstrip(" .:") or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _needs_tensorflow(name: str) -> str:
    return (
        f"{name!r} isn't prepared yet, and preparing needs TensorFlow: {TENSORFLOW_EXTRA}, "
        f"or {_ELSEWHERE}"
    )


def _new_builder(name: str) -> Any:
    with quiet():
        import tensorflow_datasets as tfds

        try:
            return tfds.builder(name)
        except ImportError as error:
            if "tensorflow" in str(error):
                raise InvalidInput("dataset", _needs_tensorflow(name)) from error
            problem = error
        except Exception as error:  # a wrong version is an AssertionError, a wrong config another
            problem = error
    raise InvalidInput(
        "dataset",
        f"TensorFlow Datasets can't build {name!r} ({one_line(problem)}); "
        "use name[/config][:version] as its catalogue lists it",
    ) from problem


def _download(builder: Any, name: str) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, extractor, util

    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(download_config=config, file_format="array_record")
    except (
        OSError,
        AssertionError,  # files that have to be fetched by hand are missing
        ImportError,
        download_manager.NonMatchingChecksumError,
        extractor.ExtractError,
        extractor.UnsafeArchiveError,
        util.DownloadError,
    ) as error:
        reason = f"{name!r} couldn't be downloaded and prepared ({one_line(error)}); {_ELSEWHERE}"
        raise InvalidInput("dataset", reason) from error
    return builder


def _hosts(builder: Any) -> set[str]:
    """The hosts to reach: the proxies if any are set, else the download's, else the homepage's."""
    proxies = getproxies()
    urls = [proxies[scheme] for scheme in ("http", "https") if scheme in proxies]
    urls = urls or list(builder.url_infos or ()) or [builder.info.homepage or ""]
    return {host for url in urls if (host := urlsplit(url).hostname)}


def _online(hosts: set[str]) -> bool:
    """Whether any of the hosts has an address; true if there are none to ask for."""
    answers: queue.Queue[bool] = queue.Queue()

    def ask(host: str) -> None:
        try:
            answers.put(bool(socket.getaddrinfo(host, 443)))
        except (OSError, UnicodeError):
            answers.put(False)

    for host in hosts:
        threading.Thread(target=ask, args=(host,), daemon=True).start()
    deadline = time.monotonic() + _NETWORK_SECONDS
    try:
        answered = (answers.get(timeout=max(0.0, deadline - time.monotonic())) for _ in hosts)
        return not hosts or any(answered)
    except queue.Empty:
        return False
