"""What is trained on: datasets by name, and your own."""

from __future__ import annotations

from subspace.data.dataset import (
    EMBEDDED,
    Dataset,
    DatasetEntry,
    Split,
    Wanted,
    describe,
    load,
)

__all__ = ["EMBEDDED", "Dataset", "DatasetEntry", "Split", "Wanted", "describe", "load"]
