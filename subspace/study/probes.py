"""What can be measured of a saved run: its loss landscape, and how random directions see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from subspace import run
from subspace.basis import get_basis
from subspace.options import check, option
from subspace.plots import new_figure, write_figure
from subspace.run.landscape import correlations, isotropic_cosine, orthogonality
from subspace.store.folder import RunFolder
from subspace.store.weights import Weights
from subspace.study.directions import landscape
from subspace.study.table import Table
from subspace.train.trainer import Trainer


@dataclass(frozen=True)
class Look:
    """How closely to look.

    Attributes:
        bases: kinds of directions.
        directions: along which the loss is measured; pairs, or draws of a subspace.
        radius: how far along each, both ways, in the parameters' units.
        examples: training examples on which the loss is measured.
        dims: of the random subspaces; None for 10, 100, 1,000, ... below D.
        seed: of the directions.
    """

    bases: Sequence[str] = ("normal", "hadamard")
    directions: int = option(10, "How many.", least=1, most=10_000)
    radius: int | float = option(2.0, "How far along each.", above=0)
    examples: int = option(1024, "Training examples.", least=1)
    dims: Sequence[int] | None = None
    seed: int = option(0, "Of the directions.", least=0, most=2**32 - 1)

    def __post_init__(self):
        for name in self.bases:
            get_basis(name)
        check(self)


def probe(
    what: str, folder: RunFolder, look: Look, file: Path, data_dir: str | None = None
) -> Table:
    """Measures a run's newest checkpoint, draws it into a PNG, and returns the table.

    Args:
        what: one of `PROBES`.
        folder: of the run.
        look: how closely.
        file: the picture.
        data_dir: where the dataset is now; by default where it was.

    Raises:
        InvalidInput: no run, no whole checkpoint, or more dimensions than parameters.
    """
    trainer, weights, *_ = run.saved(folder, data_dir)
    config = trainer.config
    figure = new_figure(7, 4.5)
    panel = figure.add_subplot()
    table = PROBES[what][0](trainer, weights, look, panel)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    title = f"{what}: {config.methods} on {config.model}, {config.dataset}"
    write_figure(figure, file, title)
    return replace(table, title=title)


def _landscape(trainer: Trainer, weights: Weights, look: Look, panel) -> Table:
    distances = np.linspace(-look.radius, look.radius, 21)
    found = landscape(
        panel,
        trainer,
        weights,
        look.bases,
        distances,
        count=look.directions,
        examples=look.examples,
        seed=look.seed,
    )
    rows = [
        [name, f"{along.here:.4f}", f"{along.rise:+.4f}", f"{along.ends.std():.4f}"]
        for name, along in found.items()
    ]
    header = ["directions", "loss here", f"rise at distance {look.radius:g}", "std"]
    images = min(look.examples, len(trainer.dataset.train.targets))
    note = f"{look.directions} unit directions each way, {images} training examples."
    return Table("", header, rows, [note])


def _correlation(trainer: Trainer, weights: Weights, look: Look, panel) -> Table:
    total = trainer.parameters
    names = ("cosine", "analytic", "cosine_leaves", "energy")
    dims = look.dims or [10**k for k in range(1, 10) if 10**k < total]
    rows = []
    for basis in look.bases:
        found = correlations(trainer, weights, basis, dims, look.directions, look.seed)
        panel.plot(dims, [one["cosine"] for one in found], "o-", label=basis)
        for one in found:
            rows.append([basis, f"{one['dim']:,}", *(f"{one[key]:.4f}" for key in names)])
    line = [math.sqrt(dim / (dim + total)) for dim in dims]
    panel.plot(dims, line, "k--", label="√(d/(d+D))")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("d")
    panel.set_ylabel("cosine of the gradient with its image")
    header = ["basis", "d", "cosine", "√(d/(d+D))", "per tensor, mean", "energy kept"]
    notes = [
        f"Mean of {look.directions} draws, the gradient of one mini-batch; D = {total:,}.",
        "√(d/(d+D)) is for independent rows; orthonormal ones (hadamard) have √(d/D).",
    ]
    return Table("", header, rows, notes)


def _orthogonality(trainer: Trainer, weights: Weights, look: Look, panel) -> Table:
    total = trainer.parameters
    expected = isotropic_cosine(total)
    rows = []
    for name in look.bases:
        cosines = np.sort(orthogonality(name, total, look.directions, look.seed))
        panel.plot(cosines, np.arange(1, len(cosines) + 1) / len(cosines), label=name)
        figures = [f"{value:.6f}" for value in (cosines.mean(), cosines.max(), expected)]
        rows.append([name, *figures])
    panel.axvline(expected, linestyle="--", color="black", label="√(2/πD)")
    panel.set_xlabel("|cosine|")
    panel.set_ylabel("share of pairs below")
    header = ["basis", "mean |cosine|", "largest", "√(2/πD)"]
    return Table("", header, rows, [f"{look.directions} pairs of directions; D = {total:,}."])


PROBES: Mapping[str, tuple[Callable[..., Table], str]] = {
    "landscape": (_landscape, "the loss along random directions from the run's weights"),
    "correlation": (_correlation, "how much of a gradient random subspaces keep, against d"),
    "orthogonality": (_orthogonality, "how orthogonal random directions of the run's D are"),
}
"""By name: what measures and draws, and one line for people."""
