"""Four networks written in PyTorch, and their weights carried over to ours."""

# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from subspace.models import BatchNorm, Conv, Dense


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, bias=False):
    """Without the activation."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two convolutions; the shortcut subsamples and pads."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.first = conv_norm(inputs, outputs, 3, self.stride)
        self.second = conv_norm(outputs, outputs, 3)

    def forward(self, x):
        y = self.second(functional.relu(self.first(x)))
        if self.stride == 2:
            half = x.shape[1] // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return functional.relu(x + y)


class DenseLayer(nn.Module):
    """What it sees, and 32 channels more."""

    def __init__(self, inputs: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([x, self.body(x)], 1)


def head(features: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def resnet20(classes: int) -> nn.Module:
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [BasicBlock(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(conv_norm(3, 16, 3), nn.ReLU(), *blocks, *head(64, classes))


def vgg11_bn(classes: int) -> nn.Module:
    layers, inputs = [], 3
    for count, width in zip((1, 1, 2, 2, 2), (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            layers += [conv_norm(inputs, width, 3, bias=True), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    hidden = [nn.Linear(512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(4096, classes))


def mobilenet(classes: int) -> nn.Module:
    layers, inputs = [conv_norm(3, 32, 3), nn.ReLU()], 32
    for width in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        stride = 2 if width > inputs > 32 else 1
        layers += [conv_norm(inputs, inputs, 3, stride, groups=inputs), nn.ReLU()]
        layers += [conv_norm(inputs, width, 1, bias=True), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, *head(1024, classes))


def densenet121(classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False)]
    inputs = 64
    for stage, count in enumerate((6, 12, 24, 16)):
        if stage:
            mix = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(inputs), mix, nn.AvgPool2d(2)]
            inputs //= 2
        for _ in range(count):
            layers.append(DenseLayer(inputs))
            inputs += 32
    return nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(), *head(inputs, classes))


NETWORKS = {
    "resnet20": resnet20,
    "vgg11_bn": vgg11_bn,
    "mobilenet": mobilenet,
    "densenet121": densenet121,
}


def with_weights_of(network: nn.Module, model: Any) -> Any:
    """Our model with PyTorch's weights; both have their layers in the same order."""

    def is_layer(node):
        return isinstance(node, Conv | BatchNorm | Dense)

    ours, treedef = jax.tree.flatten(model, is_leaf=is_layer)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    theirs = iter([module for module in network.modules() if isinstance(module, kinds)])
    new = [converted(next(theirs), layer) if is_layer(layer) else layer for layer in ours]
    assert next(theirs, None) is None
    return jax.tree.unflatten(treedef, new)


def converted(module: nn.Module, layer: Any) -> Any:
    arrays = {
        name: jnp.asarray(value.detach().numpy()) for name, value in module.named_parameters()
    }
    if isinstance(layer, BatchNorm):
        assert isinstance(module, nn.BatchNorm2d)
        new = {"scale": arrays["weight"], "shift": arrays["bias"]}
    elif isinstance(layer, Conv):
        assert isinstance(module, nn.Conv2d)
        new = {"weight": jnp.transpose(arrays["weight"], (2, 3, 1, 0)), "bias": arrays.get("bias")}
    else:
        assert isinstance(module, nn.Linear)
        new = {"weight": arrays["weight"].T, "bias": arrays["bias"]}
    for name, value in new.items():
        assert np.shape(value) == np.shape(getattr(layer, name))
        if value is not None:
            layer = eqx.tree_at(lambda one, name=name: getattr(one, name), layer, value)
    return layer
