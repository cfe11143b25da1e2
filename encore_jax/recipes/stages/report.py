"""Results as pages, as tables, and as a summary on the terminal; copies of the finished ones beside the stages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from encore_jax.data.atomic import atomic_path
from encore_jax.report.report_page import render_report
from encore_jax.report.summary import print_summary
from encore_jax.report.tables import tables_csv

PUBLISHED = ("results.json", "report.html")


class Pages(NamedTuple):
    """Files of text.

    Attributes:
      texts: by name.
    """

    texts: dict[str, str]

    def save(self, folder: Path) -> None:
        """Writes each of them."""
        for name, text in self.texts.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")


def pages_of(results: dict[str, Any], pages: Mapping[str, Callable[[dict], str]]) -> Pages:
    """results.json, and each page that a function makes of the results."""
    made = {name: render(results) for name, render in pages.items()}
    return Pages({"results.json": json.dumps(results, indent=1, allow_nan=False)} | made)


def report(results: dict[str, Any]) -> Pages:
    """results.json, report.html and tables.csv of rule heads' results."""
    return pages_of(results, {"report.html": render_report, "tables.csv": tables_csv})


def publish(folder: Path, names: tuple[str, ...] = PUBLISHED) -> dict[str, Any]:
    """Makes sure that the work directory holds copies of a finished report's files; returns its results, if any."""
    for name in names:
        with atomic_path(folder.parent / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    results = folder / "results.json"
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}


def show(folder: Path) -> None:
    """Prints the summary of a finished report and makes sure that the work directory holds its copies."""
    print_summary(publish(folder), workdir=str(folder.parent))
    print(f"\nReport: {folder.parent / 'report.html'}\nEvery comparison: {folder.parent / 'audit.html'}")
