"""An evaluation as HTML: what a notebook shows, and a page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from encore_jax.evaluation.held_out import Evaluation
from encore_jax.evaluation.page_file import write_page
from encore_jax.evaluation.report_page import page_environment

FILE = "evaluation.html"


def evaluation_html(found: Evaluation) -> str:
    """The lines and the table, as a notebook shows them."""
    return page_environment().get_template("evaluation_table.html").render(_context(found))


def write_evaluation(found: Evaluation, path: str | Path) -> Path:
    """Writes the page to a file, or into a folder; see `Evaluation.report`."""
    return write_page(path, FILE, page_environment().get_template("evaluation.html").render(_context(found)))


def _context(found: Evaluation) -> dict:
    head, *rows = found.cells()
    first, *lines = found.lines()
    return {"first": first, "lines": lines, "head": head, "rows": rows}
