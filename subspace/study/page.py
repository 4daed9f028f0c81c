"""Blocks of tables and pictures -> HTML without any other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

MARK = '<meta name="generator" content="subspace report">'
"""By which a page is known."""


@dataclass(frozen=True)
class Cells:
    """A table; each cell is its text and the number it is sorted by, None for the text itself."""

    header: Sequence[str]
    rows: Sequence[Sequence[tuple[str, float | None]]]


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
        title: of the part, which links lead to.
        cells: a table, if there is one.
        pictures: addresses of images, such as ``data:`` ones.
        notes: sentences.
        command: to copy.
        details: texts by their name, folded.
    """

    title: str
    cells: Cells | None = None
    pictures: Sequence[str] = ()
    notes: Sequence[str] = ()
    command: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


def page(title: str, blocks: Sequence[Block]) -> str:
    """A whole page. Texts are escaped; pictures' addresses have to be safe."""
    places = {block.title: f"part-{i}" for i, block in enumerate(blocks)}
    parts = [_block(block, places) for block in blocks]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            MARK,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
            f"<body><h1>{escape(title)}</h1>",
            *parts,
            f"<script>{_SORT}</script></body></html>",
            "",
        ]
    )


def _block(block: Block, places: Mapping[str, str]) -> str:
    parts = [f'<section id="{places[block.title]}"><h2>{escape(block.title)}</h2>']
    if block.command:
        parts.append(f"<pre>{escape(block.command)}</pre>")
    alt = escape(block.title)
    parts += [f'<img src="{picture}" alt="{alt}">' for picture in block.pictures]
    if block.cells:
        parts.append(_table(block.cells, places))
    if block.notes:
        parts += ["<ul>", *(f"<li>{escape(note)}</li>" for note in block.notes), "</ul>"]
    for name, text in block.details.items():
        parts.append(f"<details><summary>{escape(name)}</summary>")
        parts.append(f"<pre>{escape(text)}</pre></details>")
    return "\n".join([*parts, "</section>"])


def _table(cells: Cells, places: Mapping[str, str]) -> str:
    head = "".join(
        f'<th><button type="button">{escape(name)}</button></th>' for name in cells.header
    )
    rows = ["<tr>" + "".join(_cell(*cell, places) for cell in row) + "</tr>" for row in cells.rows]
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n'
        "</tbody></table></div>"
    )


def _cell(text: str, order: float | None, places: Mapping[str, str]) -> str:
    shown = escape(text)
    if text in places:
        shown = f'<a href="#{places[text]}">{shown}</a>'
    if order is None:
        return f"<td>{shown}</td>"
    return f'<td class="number" data-order="{order!r}">{shown}</td>'


_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
section { border-top: 1px solid #8886; padding: 1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
td, th { padding: .2rem .6rem; text-align: left; white-space: nowrap; }
tbody tr:nth-child(odd) { background: #8881; }
.number { text-align: right; }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 0;
  color: inherit; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
img { max-width: 100%; height: auto; display: block; margin: .8rem 0; background: #fff; }
pre { background: #8882; padding: .6rem; overflow-x: auto; font-size: .85rem; }
"""

_SORT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
    const down = head.ariaSort === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.ariaSort = down ? "descending" : "ascending";
    const key = row => {
      const cell = row.cells[head.cellIndex], number = cell.dataset.order;
      return number === undefined ? cell.textContent : Number(number);
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;  // no number: at the end
      const sign = typeof x === "number" ? x - y : x.localeCompare(y, undefined, {numeric: true});
      return down ? -sign : sign;
    };
    body.append(...[...body.rows].sort(order));
  });
}
"""
