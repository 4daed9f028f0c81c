"""The trainer's step on four devices is its step on one, and exchanges d numbers, not D."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_on_devices import CASES, SKIPPED, collectives

pytestmark = pytest.mark.xdist_group("devices")  # its runs are made once

SCRIPT = Path(__file__).with_name("train_on_devices.py")

WIRE = {
    **{"rbd-fc": 50, "rbd-normal-fc": 50, "rbd-feedback-fc": 50, "psgd-fc": 5},
    **{"independent-fc": 4 * 20, "fpd-independent-fc": 4 * 20, "split-fc": 40},
    **{"nes-fc": 8, "nes-split-fc": 8},
    # of 4 parts of 13 numbers each, there and back, with a scale for each of int8
    **{"rbd-bfloat16-fc": 2 * 52, "rbd-local-int8-fc": 2 * 52 + 2 * 4},
}
"""d, or K·d with directions of each worker's own: numbers a step, besides 8 for the figures."""

LAYERS = ((65, 128), (129, 10))
GRADIENT = sum(a * b for a, b in LAYERS)
KID = sum(32 + 3 * (a + b) + 3**2 for a, b in LAYERS)
KIS = sum(32 + 3 * (a + b) for a, b in LAYERS)
CURVATURE = {
    # a norm of each of 32 examples, and of 3 of them what they are; the program holds both
    "hylo-fc": KID + KIS,
    "kfac-fc": sum(a**2 + b**2 for a, b in LAYERS),
}
"""Numbers of a refresh, besides the gradient."""
WIRE |= {name: GRADIENT + more for name, more in CURVATURE.items()}


def start(out: Path, devices: int, *process: int) -> subprocess.Popen[str]:
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}  # the same collectives in half the time
    env |= {"NPROC": "8"}  # XLA's threads: with fewer than devices a collective can starve
    command = [sys.executable, str(SCRIPT), str(out), *map(str, process)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What the script stored: on 1 device, on 4, and on 2 of each of 2 processes."""
    folder = tmp_path_factory.mktemp("devices")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    files = {name: folder / f"{name}.npz" for name in (1, 4, "2 × 2")}
    group = [start(files[1], 1), start(files[4], 4)]
    group += [start(files["2 × 2"], 2, port, 2, index) for index in (0, 1)]
    for process in group:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    stored = {}
    for name, file in files.items():
        with np.load(file) as arrays:
            stored[name] = dict(arrays)
    return stored


def test_two_processes_of_two_devices_train_like_one_of_four(runs):
    two, one = runs["2 × 2"], runs[4]
    assert int(two["devices"]) == 4
    for name in CASES.keys() - SKIPPED:
        np.testing.assert_array_equal(two[name][0], two[name][1], err_msg=name)
        np.testing.assert_allclose(two[name][0], one[name][0], 1e-6, 1e-4, err_msg=name)
        assert sorted(two[f"{name}-collectives"]) == sorted(one[f"{name}-collectives"]), name


def test_four_devices_train_like_one_and_exchange_only_coordinates(runs):
    assert [int(runs[count]["devices"]) for count in (1, 4)] == [1, 4]
    for name in CASES:
        (one,), four = (runs[count][name] for count in (1, 4))
        for device in four[1:]:  # and what is said to be everywhere is the same everywhere
            np.testing.assert_array_equal(device, four[0], err_msg=name)
        # rounding, most of it in the epoch's summed loss; sums in place of means are off by 0.1
        np.testing.assert_allclose(four[0], one, atol=2e-3, err_msg=name)
        sizes = runs[4][f"{name}-collectives"]
        if name == "kid-normed":  # the layer's gradient and rows, and batch norm's few
            layer = 65 * 10
            assert 0 <= sizes.sum() - layer - (32 + 3 * (65 + 10) + 3**2) < 32, sorted(sizes)
        elif CASES[name]["method"] == "sgd":  # the gradient: the text is understood
            assert 0.9 * one.size <= sizes.max() <= one.size
        elif name in WIRE:
            assert WIRE[name] <= sizes.sum() <= WIRE[name] + 8, (name, sorted(sizes))
        else:  # batch norm's statistics, and the losses of line searches
            assert sizes.max() <= 64, (name, sorted(sizes))
            assert sizes.sum() < 2000, (name, sorted(sizes))


def test_between_exchanges_nothing_is_told(runs):
    for name in ("sgd-local-fc", "rbd-local-int8-fc", "local-normed"):
        assert runs[4][f"{name}-least"].sum() == 0
        assert runs[4][f"{name}-collectives"].sum() > 50


def test_the_text_of_a_collective_is_understood():
    text = """
      %all-reduce.1 = f32[64,128]{1,0} all-reduce(%x), channel_id=1
      %y = (f32[50]{0}, f32[]) all-reduce-start(%a, %b), replica_groups={{0,1}}
      %g = s32[4,50]{1,0} all-gather(%c), dimensions={0}
      %f = f32[9000]{0} fusion(%all-reduce.1), kind=kLoop
    """
    assert list(collectives(text)) == [8192, 50, 1, 200]
