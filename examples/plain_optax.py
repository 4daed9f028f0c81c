"""Random bases descent in a plain Optax loop: no trainer, any pytree of parameters.

python examples/plain_optax.py
"""

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import subspace

pixels, targets = load_digits(return_X_y=True)
images, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(targets)

key = jax.random.key(0)
params = {
    "hidden": {"w": jax.random.normal(key, (64, 128)) / 8, "b": jnp.zeros(128)},
    "output": {"w": jnp.zeros((128, 10)), "b": jnp.zeros(10)},
}


def loss_fn(params, images, labels):
    hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
    logits = hidden @ params["output"]["w"] + params["output"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


# 250 random directions a step, of 9,610 parameters.
optimizer = subspace.rbd(params, learning_rate=4.0, dim=250)
state = optimizer.init(params)


@jax.jit
def step(params, state, images, labels):
    loss, grads = jax.value_and_grad(loss_fn)(params, images, labels)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


for i in range(1000):
    start = i * 32 % 1760
    batch = slice(start, start + 32)
    params, state, loss = step(params, state, images[batch], labels[batch])
    if (i + 1) % 200 == 0:
        print(f"step {i + 1:4}  loss on all digits {loss_fn(params, images, labels):.3f}")
