"""What the site adds to these pages: the results of benchmarks, and no links that leave it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = _ROOT / "benchmarks" / "results"
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:examples|benchmarks)(?!/results)[^)]*\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds ``benchmarks/results``, and a page that lists it."""
    pages = sorted(_RESULTS.glob("*.md"))
    for file in [*pages, *sorted(_RESULTS.glob("*.png"))]:
        files.append(File.generated(config, f"results/{file.name}", abs_src_path=str(file)))
    listed = [f"- [{_title(page)}]({page.name})" for page in pages]
    text = "\n".join(
        ["# Results", "", "Measured, each with the command that made it.", "", *listed]
    )
    files.append(File.generated(config, "results/index.md", content=text + "\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to results stay within the site; a program is named and not linked."""
    markdown = re.sub(r"\]\((?:\.\./)+benchmarks/results/", "](results/", markdown)
    markdown = re.sub(r"\]\((?:\.\./)+benchmarks/results\)", "](results/index.md)", markdown)
    markdown = re.sub(r"\]\((?:\.\./)+docs/", "](../", markdown)
    return _OUTSIDE.sub(r"\1", markdown)


def _title(page: Path) -> str:
    return page.read_text().partition("\n")[0].lstrip("# ")
