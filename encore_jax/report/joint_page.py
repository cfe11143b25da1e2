"""The page of a joint training."""

from __future__ import annotations

from encore_jax.formats import typeset
from encore_jax.report import joint_tables as tables
from encore_jax.report.page import render


def render_joint_report(results: dict) -> str:
    """The page, the same text for the same results."""
    shown = {
        "results": results,
        "accuracy": _table(tables.ACCURACY_HEAD, tables.accuracy_cells(results)),
        "errors": _table(tables.ERROR_HEAD, tables.error_cells(results)),
        "losses": tables.loss_words(results),
    }
    return render("joint.html", **shown)


def _table(head, rows) -> dict:
    return {"head": head, "rows": [[typeset(cell) if i > 3 else cell for i, cell in enumerate(row)] for row in rows]}
