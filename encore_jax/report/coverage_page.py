"""Coverage of a model's intervals as text, notebook view, page and figure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from encore_jax.evaluation.coverage import ABOVE, ALL, BELOW, HOLDS, UNBOUNDED, Coverage
from encore_jax.formats import fixed, percent, printable
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.text_tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "coverage.html"
TITLE = "What a reward model's intervals hold"
NOTE = (
    "Coverage: how often the interval holds the held-out rating, each prompt counting once; its own interval is "
    "Wilson's over prompts. p: that exchangeable prompts lie so far from what is promised, corrected for all rows "
    "(Holm)."
)
WORDS = {HOLDS: "", BELOW: "exchangeability fails", ABOVE: "wider than need be", UNBOUNDED: "no finite width"}


def text(found: Coverage) -> str:
    """The first sentence, the table, and what else there is to say."""
    first, *others = found.sentences()
    return "\n".join([first, "", *aligned(cells(found)), "", *others])


def html(found: Coverage) -> str:
    """The same as a notebook shows it."""
    return render("evaluation_table.html", **_context(found))


def page(found: Coverage) -> str:
    """The page, the same text for the same results."""
    from encore_jax.report.svg import drawn

    figures = [drawn(functools.partial(figure, found), "coverage", "Coverage of every interval")]
    return render("result.html", **_context(found), title=TITLE, note=NOTE, figures=figures)


def figure(found: Coverage, sheet: Sheet = PAGE) -> Figure:
    """Coverage of the reward, of every rule and of every subset, with intervals, beside what is promised."""
    from encore_jax.report.interval_figures import intervals

    rows = [(_name(row), 100 * row.coverage, 100 * row.low, 100 * row.high) for row in found.rows]
    label = f"covered, % (95 % interval over prompts); promised {percent(found.promised)} %"
    return intervals(rows, label, middle=100 * found.promised, sheet=sheet)


def cells(found: Coverage) -> list[list[str]]:
    """The table: head, then a line for each of `rows`."""
    head = [
        "interval of",
        "ratings",
        "prompts",
        "covered, %",
        "95 % interval",
        "by rating, %",
        "mean width",
        "p",
        "verdict",
    ]
    return [head] + [
        [
            _name(row),
            str(row.ratings),
            str(row.prompts),
            percent(row.coverage),
            f"[{percent(row.low)}, {percent(row.high)}]",
            percent(row.by_rating),
            fixed(row.width, 3),
            "" if row.verdict == UNBOUNDED else fixed(row.p, 3),
            WORDS[row.verdict],
        ]
        for row in found.rows
    ]


def _name(row) -> str:
    return printable(row.what) if row.subset == ALL else f"{printable(row.what)}, {printable(row.subset)}"


def _context(found: Coverage) -> dict:
    head, *rows = cells(found)
    first, *others = found.sentences()
    return {"first": first, "lines": others, "head": head, "rows": rows}
