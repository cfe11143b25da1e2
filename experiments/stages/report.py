"""Stage 9, report: the results as a page, as tables, and as a summary on the terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.evaluate.report_page import render_report
from encore_jax.evaluate.tables import print_tables, tables_csv

PUBLISHED = ("results.json", "report.html")


def report(evaluated: Path, folder: Path) -> None:
    """Writes results.json, report.html and tables.csv, copies the first two up to the work directory, and shows them.

    Args:
      evaluated: folder of the evaluate stage.
      folder: of this stage, directly below the work directory.
    """
    results = json.loads((evaluated / "results.json").read_text(encoding="utf-8"))
    shutil.copyfile(evaluated / "results.json", folder / "results.json")
    for name, text in (("report.html", render_report(results)), ("tables.csv", tables_csv(results))):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    show(folder)


def show(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    publish(folder)
    print_tables(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    print(f"\nReport: {folder.parent / 'report.html'}\nEvery comparison: {folder.parent / 'audit.html'}")


def publish(folder: Path) -> None:
    """Copies the results and the page of a report stage up to the work directory."""
    for name in PUBLISHED:
        with atomic_path(folder.parent / name) as temporary:
            shutil.copyfile(folder / name, temporary)
