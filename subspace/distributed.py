"""Runs of several processes: joining them, agreeing, waiting for and stopping each other.

Everything here is trivial in a process on its own, so that callers need not ask.
"""

from __future__ import annotations

import jax
import numpy as np

from subspace.errors import InvalidInput
from subspace.rendezvous import check_timeout, meet

_LONGEST = 4096  # bytes of an agreed text


def join(
    coordinator: str | None, processes: int | None, index: int | None, timeout: int | float = 60.0
) -> None:
    """Makes this process one of a run's; to be called before any other use of JAX.

    Args:
        coordinator: ``host:port`` of process 0, free there.
        processes: how many there are.
        index: of this one.
        timeout: seconds to wait for the others.

    The first three None: they are inferred, on TPU pods, SLURM, Open MPI and Kubernetes.

    Raises:
        InvalidInput: they can't be inferred, don't fit together, or the others can't be reached.
    """
    check_timeout(timeout)
    given = [value for value in (coordinator, processes, index) if value is not None]
    if given and len(given) < 3:
        raise InvalidInput(
            "distributed", "give --coordinator, --num-processes and --process-id, or none of them"
        )
    if processes is not None and processes < 1:
        raise InvalidInput("num_processes", f"must be at least 1, got {processes}")
    if processes is not None and index is not None and not 0 <= index < processes:
        raise InvalidInput("process_id", f"must be from 0 to {processes - 1}, got {index}")
    if coordinator is not None and processes is not None and index is not None:
        meet(coordinator, processes, index, timeout)
    try:
        jax.distributed.initialize(
            coordinator, processes, index, initialization_timeout=max(1, round(timeout))
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        hint = "" if given else "; give --coordinator, --num-processes and --process-id"
        raise InvalidInput("distributed", f"{reason}{hint}") from None


def is_main() -> bool:
    """Whether this process is the one that prints, plots and writes records."""
    return jax.process_index() == 0


def is_one_of_several() -> bool:
    return jax.process_count() > 1


def wait_for_all(where: str) -> None:
    """Until every process is here."""
    if is_one_of_several():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


def agreed(text: str) -> str:
    """The main process's text."""
    if not is_one_of_several():
        return text
    from jax.experimental import multihost_utils

    padded = np.zeros(_LONGEST, np.uint8)
    words = np.frombuffer(text.encode(), np.uint8)
    padded[: len(words)] = words
    sent = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    return sent.tobytes().rstrip(b"\0").decode()


def gathered(row: np.ndarray) -> np.ndarray:
    """Every process's array, behind a new first axis."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(row))


def summed(array: np.ndarray) -> np.ndarray:
    """The sum of the processes' float64 arrays, the same bits in each."""
    if not is_one_of_several():
        return array
    words = np.ascontiguousarray(array).view(np.uint32)  # JAX would make them float32
    return gathered(words).view(np.float64).sum(axis=0)


def all_stop_at(step: int) -> bool:
    """Whether this is the step after which all stop, as one of them was told to by SIGTERM.

    Every process asks before every step; one alone is told by its own signal handlers.
    """
    if not is_one_of_several():
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
