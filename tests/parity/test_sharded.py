"""Parameters that are divided over devices: the same numbers, and only coordinates travel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P
from train_sharded import CASES, DIM, GATHERED, ONLY

import subspace

pytestmark = pytest.mark.xdist_group("devices")

NAMES = [f"explicit: {name}" for name in CASES]
NAMES += [f"{kind}: {name}" for kind, names in ONLY.items() for name in names]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("sharded") / "found.json"
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "NPROC": "8"}
    env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}  # the same collectives in half the time
    script = Path(__file__).with_name("train_sharded.py")
    done = subprocess.run([sys.executable, script, out], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_with_a_part_each_step_like_one_with_all(found, name):
    assert found[name]["error"] < 2e-6
    assert found[name]["kept"]  # updates and state are divided as they were


@pytest.mark.parametrize("name", NAMES)
def test_devices_exchange_coordinates_and_no_parameters(found, name):
    sizes = found[name]["collectives"]
    if name.partition(": ")[2] in GATHERED:
        assert max(sizes) == 9 * 16 * 32  # the largest leaf, and not all of them in one
    elif "leaf" in name:
        assert sum(sizes) <= 5 * 12
    else:
        assert max(sizes) <= DIM
        assert sum(sizes) <= DIM + 9 + 3 + 3


def on_a_mesh(make):
    """An update within a `shard_map` of which its maker isn't told."""
    mesh = jax.make_mesh((1,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    wide = jax.sharding.AbstractMesh((8,), ("model",), axis_types=mesh.axis_types)
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    optimizer = make(params)
    step = jax.shard_map(
        lambda p, s: optimizer.update(p, s, p),
        mesh=wide,
        in_specs=P(),
        out_specs=P(),
        check_vma=False,
    )
    jax.eval_shape(step, params, optimizer.init(params))


@pytest.mark.parametrize(
    "make",
    [
        lambda params: subspace.rbd(params, 0.1, dim=2),
        lambda params: subspace.rbd(params, 0.1, dim=2, error_feedback=True, recent=1),
        lambda params: subspace.fpd(params, 0.1, dim=2),
    ],
)
def test_a_subspace_that_knows_nothing_of_a_mesh_is_refused_there(make):
    with pytest.raises(subspace.InvalidInput, match=r"along model.*Mean"):
        on_a_mesh(make)


def test_copies_on_a_mesh_are_fine_where_they_are_said_to_be():
    on_a_mesh(lambda params: subspace.rbd(params, 0.1, dim=2, exchange=subspace.Mean("model")))
