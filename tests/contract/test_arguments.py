"""Arguments that can't be used are named, with what was given and what to give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from bad_arguments import BAD, SPACE, WALK, P

import subspace
from subspace import InvalidInput, TrajectorySubspace

CASES = [(field, i) for field, calls in BAD.items() for i in range(len(calls))]


@pytest.fixture(scope="module")
def raised():
    script = Path(__file__).with_name("bad_arguments.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("field", "number"), CASES)
def test_a_bad_argument_is_named_in_one_line(raised, field, number):
    got = raised[field][number]
    assert got["field"] == field, got["text"]
    assert "\n" not in got["text"]


def test_a_trajectory_may_be_an_array_of_jax():
    same = TrajectorySubspace.fit(jnp.asarray(WALK), 3, P)  # pyright: ignore
    np.testing.assert_array_equal(same.rows, SPACE.rows)


@pytest.mark.parametrize("make", [subspace.p_bfgs, subspace.p_newton])
def test_a_line_search_says_what_it_needs_of_the_loss(make):
    optimizer = make(SPACE)
    with pytest.raises(InvalidInput, match=r"misses .*value_fn; call update.*value_fn=loss"):
        optimizer.update(P, optimizer.init(P), P)
