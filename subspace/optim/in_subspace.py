"""`in_subspace`: the bridge from a subspace to Optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from subspace.errors import InvalidInput
from subspace.optim.arguments import check_alike
from subspace.optim.estimators import AbstractEstimator, Backprop
from subspace.optim.exchange import AbstractExchange, Alone
from subspace.optim.feedback import missed, nothing_missed, with_missed
from subspace.optim.workers import AbstractWorkers, PerWorker
from subspace.spaces.base import AbstractSubspace, Coords
from subspace.spaces.shards import axes_here

_State = TypeVar("_State")


class SubspaceState(NamedTuple):
    """What `in_subspace` carries from step to step.

    Attributes:
        agreed: what all workers agreed on in the last step: all that a step needs to be repeated.
        step: how many there were, where the exchange draws anew for each.
    """

    space: AbstractSubspace
    coords: Coords
    agreed: Coords
    inner: optax.OptState
    residual: PerWorker | None = None
    step: Int[Array, ""] | None = None


def in_subspace(
    space: AbstractSubspace,
    inner: optax.GradientTransformation | None,
    *,
    estimator: AbstractEstimator = Backprop(),
    exchange: AbstractExchange = Alone(),
    error_feedback: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Runs an Optax optimizer in the coordinates of a subspace.

    One update: measure the projected gradient (`estimator`), combine it with other workers'
    (`exchange`), let ``inner`` step in coordinates, lift that step to the parameters, draw the next
    chart. ``inner`` sees an ordinary small problem: a line search gets ``value``, ``grad`` and
    ``value_fn`` in coordinates too.

    The inner state survives a redraw. State that refers to old directions (momentum) is of no use
    after one, so with a subspace that is redrawn keep momentum outside:
    ``optax.chain(in_subspace(space, optax.sgd(lr)), optax.trace(0.9))``.

    Examples:
        >>> space = RandomSubspace(params, dim=100, redraw_every=None)
        >>> optimizer = in_subspace(space, optax.adam(1e-3))

    Args:
        space: the first chart.
        inner: any Optax transformation, over coordinates; None for a filter, whose update is
            ``P Pᵀ g``, with what is to be done with it outside, as in
            ``optax.chain(in_subspace(space, None), optax.sgd(lr))``. A filter draws the directions
            once where others draw them twice, and doesn't follow the coordinates.
        estimator: how the projected gradient is measured.
        exchange: how workers combine what they measured.
        error_feedback: add to each gradient what the subspaces have missed of those before it,
            ``p = g + e``, step along ``P Pᵀ p``, keep ``e ← p - P Pᵀ p`` (Seide et al. 2014,
            Karimireddy et al. 2019). Then every part of a gradient is followed sooner or later, on
            average D/d steps late, and learning rates are those of plain SGD. Costs D numbers of
            memory a worker, which never leave it, and one more lift a step. Meant for a subspace
            that is redrawn, and for `Backprop`.

    Raises:
        InvalidInput: error feedback with an estimator that takes no gradient, or with directions
            with which ``I - P Pᵀ`` isn't a contraction. From ``init`` and ``update``: parameters or
            gradients of other shapes than the subspace's.
    """
    if error_feedback and not isinstance(estimator, Backprop):
        raise InvalidInput("error_feedback", "needs gradients; leave it out, or use Backprop")
    if error_feedback and not exchange.shares_directions():
        raise InvalidInput("error_feedback", "goes with directions that all workers share")
    if error_feedback and space.stretch() > 2:
        raise InvalidInput(
            "error_feedback",
            "what is missed would grow from step to step with these directions; use an orthonormal "
            "basis, such as countsketch, of unit length, or fewer directions",
        )
    space = exchange.joint(space)
    if inner is None and isinstance(estimator, Backprop):
        return _filter(space, exchange, error_feedback)
    inner = optax.with_extra_args_support(inner or optax.identity())

    def init(params: PyTree) -> SubspaceState:
        return _start(space, inner, params, error_feedback, exchange.draws())

    def update(
        updates: PyTree,
        state: SubspaceState,
        params: PyTree | None = None,
        *,
        value_fn: Callable[..., Any] | None = None,
        **extra: Any,
    ) -> tuple[PyTree, SubspaceState]:
        space, coords, _, inner_state, residual, count = state
        _check_axes(space, exchange)
        check_alike("updates", updates, params)
        updates = with_missed(updates, residual)
        measured = estimator(exchange.mine(space), updates, params, value_fn)
        agreed, credited = exchange(measured, count)
        gradient = estimator.shape(agreed)
        if residual is not None:
            residual = missed(updates, space.tangent(credited), residual)
        if value_fn is not None and params is not None:
            extra |= {
                "value_fn": _chart(space, coords, params, value_fn, exchange.workers),
                "grad": gradient,
            }
        step: Any
        step, inner_state = inner.update(gradient, inner_state, coords, **extra)
        moved: Any = optax.apply_updates(coords, step)
        lifted = space.lift(step)
        check_alike("updates", updates, lifted)
        next_space, next_coords = space.redraw(moved, lifted)
        now = (next_space, next_coords, agreed, inner_state, residual)
        return lifted, SubspaceState(*now, _next(count))

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _filter(
    space: AbstractSubspace, exchange: AbstractExchange, error_feedback: bool
) -> optax.GradientTransformationExtraArgs:
    """`in_subspace` without an inner optimizer: ``P Pᵀ g``."""

    def init(params: PyTree) -> SubspaceState:
        return _start(space, optax.identity(), params, error_feedback, exchange.draws())

    def update(
        updates: PyTree, state: SubspaceState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, SubspaceState]:
        del extra
        space, coords, _, inner, residual, count = state
        _check_axes(space, exchange)
        check_alike("updates", updates, params)
        wanted = with_missed(updates, residual)
        if exchange.trivial():
            agreed, mine = space.filter(wanted)
            followed = mine
        else:
            measured = exchange.mine(space).project(wanted)
            agreed, credited = exchange(measured, count)
            followed = space.tangent(agreed)
            mine = space.tangent(credited) if residual is not None else None
        if residual is not None:
            residual = missed(wanted, mine, residual)
        check_alike("updates", updates, followed)
        next_space, _ = space.redraw(coords, followed)  # which aren't followed, and stay zeros
        now = (next_space, coords, agreed, inner, residual)
        return followed, SubspaceState(*now, _next(count))

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore


def _check_axes(space: AbstractSubspace, exchange: AbstractExchange) -> None:
    """Refuses a `shard_map` of which the space knows nothing: its devices would part in silence."""
    shared = exchange.workers.along()
    unknown = [name for name in axes_here() if name not in shared and not space.knows(name)]
    if unknown:
        raise InvalidInput(
            "params",
            f"are blocks of arrays, or copies, in a shard_map along {', '.join(unknown)}; give the "
            "subspace the whole parameters as they are sharded outside of it, or where each device "
            f"has all of them the exchange Mean({unknown[0]!r})",
        )


def _start(
    space: AbstractSubspace,
    inner: optax.GradientTransformation,
    params: PyTree,
    error_feedback: bool,
    counted: bool,
) -> SubspaceState:
    """A first state that shares no array with the caller."""
    coords, residual = space.origin(), None
    check_alike("params", params, jax.eval_shape(space.lift, coords))
    if error_feedback:
        residual = nothing_missed(params)
    step = jnp.int32(0) if counted else None
    state = SubspaceState(space, coords, coords, inner.init(coords), residual, step)
    return jax.tree.map(_apart, state)


def _next(count: Int[Array, ""] | None) -> Int[Array, ""] | None:
    return None if count is None else count + 1


def _apart(leaf: Any) -> Any:
    """A copy, as the caller may donate the state; not weakly typed, or the next step recompiles."""
    array = jnp.asarray(leaf)
    return jnp.array(array, array.dtype)


def _chart(
    space: AbstractSubspace,
    coords: Coords,
    params: PyTree,
    value_fn: Callable[..., Any],
    workers: AbstractWorkers,
) -> Callable[[Coords], Any]:
    """The loss as a function of coordinates, ``z -> L(params + P (z - coords))``.

    Its gradient is combined over workers as its value is: inside a ``shard_map`` that doesn't
    check what varies, differentiating a mean over workers gives each worker's own part.
    """

    @jax.custom_vjp
    def shared(z: Coords) -> Coords:
        return z

    shared.defvjp(lambda z: (z, None), lambda _, cotangent: (workers.mean(cotangent),))

    lift = space.lifter()

    def value(z: Coords) -> Any:
        step = lift(jax.tree.map(jnp.subtract, shared(z), coords))
        return workers.mean(value_fn(optax.apply_updates(params, step)))

    return value


def subspace_state(opt_state: optax.OptState) -> SubspaceState | None:
    """The part of an optimizer state that is `in_subspace`'s, wherever it stands; None without."""
    return find_state(opt_state, SubspaceState)


def find_state(opt_state: optax.OptState, kind: type[_State]) -> _State | None:
    """The first state of a kind in an optimizer state, wherever it stands; None without."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, kind))
    return next((node for node in nodes if isinstance(node, kind)), None)


def coordinates(opt_state: optax.OptState) -> Coords | None:
    """The coordinates in an optimizer state; None without a subspace."""
    state = subspace_state(opt_state)
    return None if state is None else state.coords


def chain(*steps: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optax.chain`, typed as what it returns: a transformation that passes extra arguments on."""
    return optax.with_extra_args_support(optax.chain(*steps))
