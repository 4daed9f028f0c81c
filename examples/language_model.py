"""A small language model trained in random subspaces, beside plain SGD.

python examples/language_model.py

Its text is the documentation strings of Python's own modules; it predicts the next byte.
"""

import argparse
import decimal
import inspect
import logging
import statistics
import tokenize

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import subspace
from subspace.models.transformer import Decoder

LENGTH, BATCH, STEPS = 32, 16, 200

modules = (argparse, decimal, logging, statistics, tokenize)
texts = [inspect.getdoc(module) or "" for module in modules]
texts += [
    inspect.getdoc(thing) or ""
    for module in modules
    for thing in vars(module).values()
    if callable(thing)
]
text = np.frombuffer("\n".join(texts).encode(), np.uint8)
held_out = text[: 100 * (LENGTH + 1)].reshape(100, LENGTH + 1)
print(f"{len(text):,} bytes of text, such as {bytes(text[5000:5060])!r}")

model = Decoder(256, LENGTH, key=jax.random.key(0))
start, static = eqx.partition(model, eqx.is_inexact_array)


def loss_fn(params, tokens):
    tokens = tokens.astype(jnp.int32)
    logits = jax.vmap(eqx.combine(params, static))(tokens[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def train(name, optimizer):
    """Prints the loss of text that wasn't trained on, in bits a byte, before and after."""

    @jax.jit
    def step(params, state, tokens):
        grads = jax.grad(loss_fn)(params, tokens)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, state, draws = start, optimizer.init(start), np.random.default_rng(0)
    before = jax.jit(loss_fn)(params, held_out)
    for _ in range(STEPS):
        places = draws.integers(len(held_out) * (LENGTH + 1), len(text) - LENGTH, BATCH)
        params, state = step(params, state, text[places[:, None] + np.arange(LENGTH + 1)])
    after = jax.jit(loss_fn)(params, held_out)
    bits = [float(loss) / np.log(2) for loss in (before, after)]
    print(f"{name}: {bits[0]:.2f} bits a byte, after {STEPS} steps {bits[1]:.2f}")


size = subspace.models.parameter_count(start)
train(f"SGD in all {size:,} dimensions", subspace.sgd(start, 0.5))
train("RBD, d = 250", subspace.rbd(start, 8.0, dim=250))
train("RBD, d = 250, error feedback", subspace.rbd(start, 0.5, dim=250, error_feedback=True))
