"""What a phase or a run hands on to the next one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PyTree


class Weights(NamedTuple):
    """What a phase hands on to the next one; named as in `TrainState`."""

    params: PyTree
    model_state: PyTree


class TakenOver(NamedTuple):
    """What a run takes over from another one."""

    weights: Weights
    rows: Float[np.ndarray, "t n"] | None
    """The samples of its trajectory, if it has one."""
