"""DLDR in a plain Optax loop: sample SGD's trajectory, then BFGS in its principal directions.

python examples/trajectory.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

import subspace

pixels, targets = load_digits(return_X_y=True)
images, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(targets)

key = jax.random.key(0)
start = {
    "hidden": {"w": jax.random.normal(key, (64, 128)) / 8, "b": jnp.zeros(128)},
    "output": {"w": jnp.zeros((128, 10)), "b": jnp.zeros(10)},
}


def loss_fn(params):
    hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
    logits = hidden @ params["output"]["w"] + params["output"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(optimizer, steps):
    """The loss and the parameters at the start and after every step."""

    @jax.jit
    def step(params, state):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = optimizer.update(grads, state, params, value=loss, value_fn=loss_fn)
        return loss, optax.apply_updates(params, updates), state

    params, state, losses, samples = start, optimizer.init(start), [], [ravel_pytree(start)[0]]
    for _ in range(steps):
        loss, params, state = step(params, state)
        losses.append(float(loss))
        samples.append(ravel_pytree(params)[0])
    return losses, np.stack(samples)


losses, samples = train(subspace.sgd(start, 0.3), 60)
print(f"SGD in all {samples.shape[1]:,} dimensions, step 59: loss {losses[-1]:.3f}")

space = subspace.TrajectorySubspace.fit(samples, 5, start)
explained = float(space.explained_variance_ratio[:5].sum())
print(f"5 directions explain {explained:.1%} of the trajectory's variance")

losses, _ = train(subspace.p_bfgs(space), 20)
for step in (0, 5, 10, 19):
    print(f"BFGS in 5 dimensions from the same start, step {step:2}: loss {losses[step]:.3f}")
