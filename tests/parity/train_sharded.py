"""Updates of parameters that are divided over 8 devices: python train_sharded.py OUT.json

Stores for each optimizer and kind of axes how far it is from one device's, whether what it returns
is divided as parameters are, and the sizes of all collectives in its compiled step.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from train_on_devices import collectives

import subspace

DIM = 20
SHAPES = {"w": (64, 48), "b": (64,), "conv": (3, 3, 16, 32), "heads": (8, 6, 10), "gain": ()}
SPECS = {
    **{"w": P("model", None), "b": P("model"), "conv": P(None, None, ("data", "model"), None)},
    **{"heads": P("data", None, None), "gain": P()},
}


def trajectory(params: Any) -> subspace.TrajectorySubspace:
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    samples = np.random.default_rng(0).normal(size=(8, size)).astype(np.float32)
    return subspace.TrajectorySubspace.fit(samples, 5, params)


def adam(params: Any) -> optax.GradientTransformationExtraArgs:
    space = subspace.RandomSubspace(params, dim=DIM, basis="countsketch", redraw_every=None)
    return subspace.in_subspace(space, optax.adam(0.1))


def in_sketch(**options: Any) -> Any:
    return lambda params: subspace.rbd(params, 0.1, dim=DIM, basis="countsketch", **options)


CASES: dict[str, Any] = {
    "rbd": in_sketch(),
    "rbd, momentum": in_sketch(momentum=0.9),
    "rbd, by leaf": in_sketch(compartments="leaf", allocate="proportional"),
    "error feedback": in_sketch(error_feedback=True),
    "strong": in_sketch(error_feedback=True, recent=3),
    "fpd": lambda params: subspace.fpd(params, 0.1, dim=DIM, basis="countsketch"),
    "adam": adam,
    "p_sgd": lambda params: subspace.p_sgd(trajectory(params), 0.1),
    "even slices": in_sketch(compartments="even:3"),
    "hadamard": lambda params: subspace.rbd(params, 0.1, dim=DIM, basis="hadamard"),
    "rademacher, strong": lambda params: subspace.rbd(
        params, 0.1, dim=DIM, basis="rademacher", error_feedback=True, recent=2
    ),
}

GATHERED = ("even slices", "hadamard", "rademacher, strong")
"""What needs whole leaves on every device."""
ONLY = {
    "auto": ("rbd", "rbd, by leaf", "strong", "adam", "p_sgd", "hadamard"),
    "manual": ("rbd", "error feedback", "strong", "fpd", "p_sgd", "even slices"),
}
"""A few of the cases for other kinds of axes than explicit ones."""


def gradient(params: Any) -> Any:
    return jax.tree.map(lambda x: jnp.sin(3 * x), params)


def stepper(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    def step(params: Any, state: Any) -> Any:
        updates, state = optimizer.update(gradient(params), state, params)
        return optax.apply_updates(params, updates), updates, state

    return step


def walked(step: Any, params: Any, state: Any) -> Any:
    updates = params
    for _ in range(3):
        params, updates, state = step(params, state)
    return params, updates, state


def measured(make: Any, params: Any, mesh: Any, manual: bool) -> dict[str, Any]:
    expected, _, _ = walked(jax.jit(stepper(make(params))), params, make(params).init(params))
    shardings = {name: NamedSharding(mesh, spec) for name, spec in SPECS.items()}
    divided = jax.tree.map(jax.device_put, params, shardings)
    optimizer = make(divided)
    state = jax.device_put(optimizer.init(divided), placed(optimizer.init(divided), mesh))
    step = stepper(optimizer)
    if manual:
        specs = (SPECS, jax.tree.map(lambda leaf: leaf.sharding.spec, state))
        step = jax.shard_map(
            step, mesh=mesh, in_specs=specs, out_specs=(SPECS, *specs), check_vma=False
        )
    compiled = jax.jit(step).lower(divided, state).compile()
    got, updates, after = walked(jax.jit(step), divided, state)
    pairs = zip(jax.tree.leaves((state, divided)), jax.tree.leaves((after, updates)), strict=True)
    return {
        "error": max(float(np.abs(got[name] - expected[name]).max()) for name in SHAPES),
        "kept": all(a.sharding.is_equivalent_to(b.sharding, a.ndim) for a, b in pairs),
        "collectives": [int(size) for size in collectives(compiled.as_text())],
    }


def placed(state: Any, mesh: Any) -> Any:
    """Everywhere what isn't divided."""
    return jax.tree.map(
        lambda leaf: (
            leaf.sharding if isinstance(leaf.sharding, NamedSharding) else NamedSharding(mesh, P())
        ),
        state,
    )


def main(out: str) -> None:
    params = {
        name: jax.random.normal(jax.random.key(i), shape)
        for i, (name, shape) in enumerate(SHAPES.items())
    }
    found = {}
    for kind in ("auto", "explicit", "manual"):
        axes = AxisType.Explicit if kind == "explicit" else AxisType.Auto
        mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(axes, axes))
        for name in CASES if kind == "explicit" else ONLY[kind]:
            make = CASES[name]
            explicit = kind == "explicit"
            with jax.set_mesh(mesh) if explicit else contextlib.nullcontext():
                found[f"{kind}: {name}"] = measured(make, params, mesh, kind == "manual")
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
