"""Calls with arguments that can't be used; as a program it prints what each of them raises.

By field, as JSON: the tests' type checks would refuse many of them before the library does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import subspace
from subspace import InvalidInput, fpd, nes, p_bfgs, p_sgd, rbd

RandomSubspace: Any = subspace.RandomSubspace  # whose types say that these are no arguments
TrajectorySubspace: Any = subspace.TrajectorySubspace
P = {"w": jnp.zeros((6, 5)), "b": jnp.zeros(7)}
WALK = np.cumsum(np.random.default_rng(0).normal(size=(6, 37)), 0).astype(np.float32)
SPACE = TrajectorySubspace.fit(WALK, 3, P)
NAN, INF = float("nan"), float("inf")

BAD = {
    "dim": [
        lambda v=v, make=make: make(P, 0.1, dim=v)
        for v in ("3", NAN, 2.5, 0, -1, None, True, 38, [3])
        for make in (rbd, fpd, nes)
    ]
    + [lambda v=v: RandomSubspace(P, dim=v) for v in ("3", NAN, 2.5, 0, True, 38)],
    "learning_rate": [
        lambda v=v, make=make: make(P, v, dim=3)
        for v in (None, -1, NAN, "1")
        for make in (rbd, nes)
    ]
    + [lambda: p_sgd(SPACE, -1.0), lambda: subspace.rbd_in_law(P, None, dim=3)],
    "seed": [lambda v=v: rbd(P, 0.1, dim=3, seed=v) for v in (1.5, -1, 2**32, "0", None, True)]
    + [lambda: RandomSubspace(P, dim=3, seed=1.5), lambda: rbd(P, 0.1, dim=3, seed=jnp.arange(2))]
    + [lambda: subspace.rbd_in_law(P, 0.1, dim=3, seed=-1)],
    "redraw_every": [lambda v=v: rbd(P, 0.1, dim=3, redraw_every=v) for v in (1.5, 0, "1")]
    + [lambda v=v: RandomSubspace(P, dim=3, redraw_every=v) for v in (1.5, 0, True)],
    "momentum": [lambda v=v: rbd(P, 0.1, dim=3, momentum=v) for v in (2, -0.1, NAN, "0")],
    "exchange": [
        lambda: rbd(P, 0.1, dim=3, exchange="mean"),
        lambda: p_bfgs(SPACE, exchange=None),
    ],
    "compartments": [lambda v=v: rbd(P, 0.1, dim=3, compartments=v) for v in (None, 3, "leafs")]
    + [lambda v=v: RandomSubspace(P, dim=3, compartments=v) for v in (None, 3, "even:x")]
    + [lambda: rbd({"w": jax.ShapeDtypeStruct((2**31,), jnp.float32)}, 0.1)],
    "damping": [lambda v=v: p_bfgs(SPACE, damping=v) for v in (-1, 1, NAN)],
    "space": [lambda: p_bfgs(P), lambda: p_sgd(P, 0.1), lambda: subspace.p_newton(None)],
    "sigma": [lambda v=v: nes(P, 0.1, dim=3, sigma=v) for v in (0, -1, INF)],
    "basis": [lambda v=v: rbd(P, 0.1, dim=3, basis=v) for v in ("hadamrd", None, 3)],
    "recent": [lambda v=v: rbd(P, 0.1, dim=3, recent=v) for v in (-1, 7, 1.5)],
    "samples": [
        lambda: TrajectorySubspace.fit(np.full((6, 37), NAN, np.float32), 3, P),
        lambda: TrajectorySubspace.fit(WALK[0], 3, P),
        lambda: TrajectorySubspace.fit([P, P], 1, P),
        lambda: TrajectorySubspace.fit(WALK[:, 1:], 3, P),
    ],
}


def raised(call):
    try:
        call()
    except InvalidInput as error:
        return {"field": error.field, "text": str(error)}
    except Exception as error:
        return {"field": None, "text": f"{type(error).__name__}: {error}"}
    return {"field": None, "text": "accepted"}


if __name__ == "__main__":
    json.dump({field: [raised(call) for call in calls] for field, calls in BAD.items()}, sys.stdout)
