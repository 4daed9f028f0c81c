"""Keeps XLA's CPU compiler from computing a value anew for each of its uses."""

from __future__ import annotations

from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def once(x: Array) -> Array:
    """The same value, written to memory on a CPU, where several operations read it.

    XLA would fuse what gives ``x`` into each of them. Along a network's skip connections that adds
    up: every block would compute all sums before it again, forward and backward. The platform is
    that for which a program is lowered, which needn't be the one that traces it.
    """
    return _once.bind(x)


# A primitive, as a network has hundreds of these, and `lax.platform_dependent` takes milliseconds.
_once = Primitive("once")
_once.def_impl(lambda x: x)
_once.def_abstract_eval(lambda x: x)
ad.deflinear2(_once, lambda cotangent, _: [once(cotangent)])
batching.primitive_batchers[_once] = lambda args, axes: (once(*args), axes[0])
mlir.register_lowering(_once, mlir.lower_fun(lambda x: x, multiple_results=False))
mlir.register_lowering(
    _once, mlir.lower_fun(lax.optimization_barrier, multiple_results=False), platform="cpu"
)
