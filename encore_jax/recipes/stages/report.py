"""Stage report: the results as a page, as tables, and as a summary on the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.report.report_page import render_report
from encore_jax.report.tables import print_tables, tables_csv

PUBLISHED = ("results.json", "report.html")


def report(evaluated: Path, folder: Path) -> None:
    """Writes results.json, report.html and tables.csv, copies the first two up to the work directory, and shows them.

    Args:
      evaluated: folder of the evaluate stage.
      folder: of this stage, directly below the work directory.
    """
    write_pages(evaluated, folder, {"report.html": render_report, "tables.csv": tables_csv})
    show(folder)


def write_pages(evaluated: Path, folder: Path, pages: Mapping[str, Callable[[dict], str]]) -> None:
    """Copies results.json from the stage before, and writes each page that a function makes of it."""
    results = json.loads((evaluated / "results.json").read_text(encoding="utf-8"))
    shutil.copyfile(evaluated / "results.json", folder / "results.json")
    for name, render in pages.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(render(results), encoding="utf-8")


def publish(folder: Path) -> dict:
    """Makes sure that the work directory holds copies of a finished report; returns its results."""
    for name in PUBLISHED:
        with atomic_path(folder.parent / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def show(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print_tables(publish(folder))
    print(f"\nReport: {folder.parent / 'report.html'}\nEvery comparison: {folder.parent / 'audit.html'}")
