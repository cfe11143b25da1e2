"""A panel's reliability as text, notebook view, page and figure; and the page of a run that asked several judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from encore_jax.evaluation.panel import PanelReliability
from encore_jax.evaluation.panel_results import panel_results
from encore_jax.formats import typeset
from encore_jax.report.label_next import label_context
from encore_jax.report.page import render
from encore_jax.report.panel_tables import (
    POINTWISE,
    judge_table,
    loading_table,
    panel_text,
    position_table,
    repetition_table,
    rule_table,
    to_label,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "panel.html"

text = panel_text


def html(found: PanelReliability) -> str:
    """The recommendation and the table of judges, as a notebook shows them."""
    return render("panel_summary.html", **_context(panel_results(found)))


def page(found: PanelReliability) -> str:
    """The page of a panel that was measured from Python."""
    return render_panel(panel_results(found))


def figure(found: PanelReliability) -> Figure:
    """Who follows the others on which rule, and what every judge is worth."""
    from encore_jax.report.panel_figures import panel_figure

    return panel_figure(found)


def render_panel(results: Mapping, run: Mapping | None = None) -> str:
    """The page, the same text for the same results.

    Args:
      results: as `encore_jax.evaluation.panel_results` makes them.
      run: of a rating run, its results: who was asked, and what became of the questions.
    """
    return render("panel.html", **_context(results), run=run, label_next=label_context(*to_label(results, run)))


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
