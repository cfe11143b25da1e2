"""Ratings by a judge as text, notebook view, page and figure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from encore_jax.formats import fixed, printable
from encore_jax.judge.rate import JudgedComparisons
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.text_tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FILE = "ratings.html"
TITLE = "Ratings by a judge"
NOTE = "Ratings are from 0 to 1, and higher is better by every rule."


def text(found: JudgedComparisons) -> str:
    """How many ratings there are, the table, and why others are missing."""
    first, *others = found.sentences()
    return "\n".join([first, "", *aligned(cells(found)), "", *others])


def html(found: JudgedComparisons) -> str:
    """The same as a notebook shows it."""
    return render("evaluation_table.html", **_context(found))


def page(found: JudgedComparisons) -> str:
    """The page, the same text for the same ratings."""
    from encore_jax.report.svg import drawn

    figures = [drawn(functools.partial(figure, found), "ratings", "Ratings by every rule")]
    return render("result.html", **_context(found), title=TITLE, note=NOTE, figures=figures)


def figure(found: JudgedComparisons, sheet: Sheet = PAGE) -> Figure:
    """Mean rating of every rule, with the middle half of its ratings."""
    from encore_jax.report.interval_figures import intervals

    rows = [(name, own.mean(), *np.percentile(own, [25, 75])) for name, own in ratings_by_rule(found) if own.size]
    return intervals(rows, "rating: mean, and the middle half", middle=0.5, limits=(-0.03, 1.03), sheet=sheet)


def ratings_by_rule(found: JudgedComparisons) -> list[tuple[str, np.ndarray]]:
    """Every rule's ratings."""
    ratings, mask = (np.concatenate([getattr(c, name) for c in found]) for name in ("ratings", "mask"))
    return [(name, ratings[mask[:, k], k]) for k, name in enumerate(found.pool.names)]


def cells(found: JudgedComparisons) -> list[list[str]]:
    """A line for every rule: how many ratings, how many are missing, their mean and standard deviation."""
    responses = sum(len(c.responses) for c in found)
    return [["rule", "ratings", "missing", "mean", "standard deviation"]] + [
        [
            printable(name),
            f"{own.size:,}",
            f"{responses - own.size:,}",
            *([fixed(own.mean(), 2), fixed(own.std(), 2)] if own.size else ["", ""]),
        ]
        for name, own in ratings_by_rule(found)
    ]


def _context(found: JudgedComparisons) -> dict:
    head, *rows = cells(found)
    first, *others = found.sentences()
    return {"first": first, "lines": others, "head": head, "rows": rows, "strong": False}
