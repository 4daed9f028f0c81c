"""The forward pass of networks written in PyTorch, with the same weights."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subspace import models

torch = pytest.importorskip("torch", reason="PyTorch isn't installed")


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "mobilenet", "densenet121"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_the_logits_are_those_of_the_network_in_pytorch(name, training):
    import torch_networks

    torch.manual_seed(0)
    network = torch_networks.NETWORKS[name](100).train(training)
    model, state = models.build(name, (32, 32, 3), 100, key=jax.random.key(0))
    model = torch_networks.with_weights_of(network, model)
    images = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    model = eqx.nn.inference_mode(model, not training)
    logits, _ = eqx.filter_jit(models.apply)(model, state, jnp.asarray(images))
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
