"""A panel's reliability as HTML: what a notebook shows, a page that needs nothing else, and the page of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from encore_jax.evaluation.formats import typeset
from encore_jax.evaluation.page_file import write_page
from encore_jax.evaluation.panel import PanelReliability
from encore_jax.evaluation.panel_tables import (
    POINTWISE,
    judge_table,
    loading_table,
    panel_results,
    position_table,
    repetition_table,
    rule_table,
)
from encore_jax.evaluation.report_page import page_environment

FILE = "panel.html"


def panel_html(found: PanelReliability) -> str:
    """The recommendation and the table of judges, as a notebook shows them."""
    return page_environment().get_template("panel_summary.html").render(_context(panel_results(found)))


def render_panel(results: Mapping, run: Mapping | None = None) -> str:
    """The page, the same text for the same results.

    Args:
      results: as `encore_jax.evaluation.panel_tables.panel_results` makes them.
      run: of a rating run, its results: who was asked, and what became of the questions.
    """
    return page_environment().get_template("panel.html").render(_context(results), run=run)


def write_panel_report(found: PanelReliability, path: str | Path) -> Path:
    """Writes the page to a file, or into a folder; see `PanelReliability.report`."""
    return write_page(path, FILE, render_panel(panel_results(found)))


def _context(results: Mapping) -> dict:
    tables = {
        "judges": judge_table(results),
        "rules": rule_table(results, judges=0),
        "loadings": loading_table(results),
        "repetitions": repetition_table(results),
        "positions": position_table(results),
    }
    return {
        "panel": results,
        "labelled": any(line["labels"] for line in results["judges"]),
        "pointwise": POINTWISE,
        "tables": {name: (head, [_set(row) for row in rows]) for name, (head, rows) in tables.items()},
    }


def _set(row: list[str]) -> list[str]:
    """A row with real minus signs in its numbers; its name stays as it is."""
    return [row[0], *(typeset(cell) if cell[:1] in "+-[0123456789" else cell for cell in row[1:])]
