"""An evaluation on held-out comparisons as text, notebook view, page and figure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from encore_jax.evaluation.held_out import Evaluation
from encore_jax.formats import fixed, percent, printable
from encore_jax.report import coverage_page
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "evaluation.html"
TITLE = "A reward model beside people"
NOTE = (
    "Accuracy: how often the preferred response gets the higher reward, a tie counting half; intervals resample "
    "prompts."
)
COLUMNS = (
    "Reward: the model's, then every rule alone. Weight: of the rule in the model's reward. Accuracy: in how many % of "
    "the pairs the preferred response gets the higher reward, a tie counting half; 95 % interval: prompts resampled. "
    "Ties: pairs with two equal rewards."
)
"""What the columns of the table mean."""


def text(found: Evaluation) -> str:
    """The first sentence, the table, and what else there is to say."""
    first, *others = lines(found)
    covered = ["", *aligned(coverage_page.cells(found.coverage))] if found.coverage is not None else []
    return "\n".join([first, "", *aligned(cells(found)), COLUMNS, *covered, "", *others])


def html(found: Evaluation) -> str:
    """The same as a notebook shows it."""
    return render("evaluation_table.html", **_context(found))


def page(found: Evaluation) -> str:
    """The page, the same text for the same results."""
    from encore_jax.report.svg import drawn

    figures, note = [drawn(functools.partial(figure, found), "accuracy", "Agreement with people of every reward")], NOTE
    if found.coverage is not None:
        covered = functools.partial(coverage_page.figure, found.coverage)
        figures.append(drawn(covered, "coverage", "Coverage of every interval"))
        note = f"{NOTE} {coverage_page.NOTE}"
    return render("result.html", **_context(found), title=TITLE, note=note, figures=figures)


def figure(found: Evaluation, sheet: Sheet = PAGE) -> Figure:
    """Accuracy of the composed reward and of every rule, with intervals."""
    from encore_jax.report.interval_figures import intervals

    rows = [(row.name, 100 * row.accuracy, 100 * row.low, 100 * row.high) for row in found.rows]
    return intervals(rows, "agrees with people, % of pairs (95 % interval over prompts)", middle=50.0, sheet=sheet)


def lines(found: Evaluation) -> list[str]:
    """What there is to say besides the table, the most important first."""
    return found.sentences() + over_refusal_lines({"over_refusal": found.over_refusal} if found.over_refusal else {})


def cells(found: Evaluation) -> list[list[str]]:
    """The table: head, then a line for each of `rows`."""
    head = ["reward", "weight", "accuracy, %", "95 % interval", "ties"]
    return [head] + [
        [
            printable(row.name),
            "" if row.weight is None else fixed(row.weight, 3),
            percent(row.accuracy),
            f"[{percent(row.low)}, {percent(row.high)}]",
            str(row.ties),
        ]
        for row in found.rows
    ]


def _context(found: Evaluation) -> dict:
    head, *rows = cells(found)
    first, *others = lines(found)
    more = {}
    if found.coverage is not None:
        more["also_head"], *more["also_rows"] = coverage_page.cells(found.coverage)
        more["also"] = "what the intervals hold"
    return {"first": first, "lines": others, "head": head, "rows": rows, "columns": COLUMNS} | more
