"""Programs for accelerators that aren't there: every optimizer, and training on many devices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AbstractMesh, AxisType
from problems import START, loss
from test_methods import CASES, build

import subspace
from subspace import data, models
from subspace.config.run import RunConfig
from subspace.data.dataset import Split
from subspace.train.trainer import Trainer

PLATFORMS = ["tpu", "cuda"]
STRONG = [
    ("rbd", basis, {"error_feedback": True, "recent": 3}) for basis in ("countsketch", "normal")
]


@pytest.mark.parametrize(("name", "basis", "options"), [(*case, {}) for case in CASES] + STRONG)
def test_an_update_is_lowered_for_accelerators(name, basis, options):
    optimizer = build(name, basis, **options)

    def update(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        return optimizer.update(grads, state, params, value=value, grad=grads, value_fn=loss)

    traced = jax.jit(update).trace(START, optimizer.init(START))
    for platform in PLATFORMS:
        assert "module" in traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("model", ["fc", "cnn", "resnet8", "vit"])
def test_a_training_step_of_many_devices_is_lowered_for_accelerators(model):
    config = {"method": "rbd", "model": model, "epochs": 1, "batch_size": 512, "dim": 64}
    larger = Split(np.zeros((512, 32, 32, 1), np.uint8), np.zeros(512, np.int32))
    digits = dataclasses.replace(data.load("digits"), train=larger)
    trainer: Any = Trainer(RunConfig.resolve(config), digits)
    for devices in (8, 512):
        trainer.mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))
        running = trainer.running(0)
        state = trainer.first_state(running, trainer.weights, devices)
        split = trainer.dataset.train
        order = trainer.order(running.place, 0)
        given = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (*split[:2], order)]
        traced = running.train_step.trace(state, *given)
        for platform in PLATFORMS:
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert "all_reduce" in text


def exported(platforms):
    """MobileNet's gradient, exported from here."""
    model, state = models.build("mobilenet", (32, 32, 3), 10, key=jax.random.key(0))
    params, static = eqx.partition(models.with_axis(model, ("batch",)), eqx.is_inexact_array)

    def total(params, images):
        outputs, _ = models.apply(eqx.combine(params, static), state, images)
        return jnp.sum(outputs**2)

    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    return export.export(jax.jit(jax.grad(total)), platforms=platforms)(
        params, images
    ).mlir_module()


def test_what_a_tpu_runs_does_not_depend_on_where_it_was_traced():
    """On a CPU depthwise convolutions are sums, and values that are used twice are kept."""
    text = exported(["tpu"])
    assert "optimization_barrier" not in text
    assert text.count("stablehlo.convolution") >= 40
    assert exported(["cpu"]).count("optimization_barrier") > 50


def test_nothing_asks_for_the_platform_while_tracing():
    for path in Path(subspace.__file__).parent.rglob("*.py"):
        assert "default_backend" not in path.read_text(), path.name
