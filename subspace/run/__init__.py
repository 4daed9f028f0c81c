"""One run from request to summary, and what can be made of a finished one."""

from __future__ import annotations

from subspace.run.execute import (
    Saved,
    check_plot,
    compare,
    evaluate,
    evaluate_start,
    execute,
    load,
    request,
    saved,
)

__all__ = [
    "Saved",
    "check_plot",
    "compare",
    "evaluate",
    "evaluate_start",
    "execute",
    "load",
    "request",
    "saved",
]
