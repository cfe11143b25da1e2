"""The study of real judges as a page, and its figure."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from encore_jax.formats import fixed, number, shortened, typeset
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREY, drawn
from experiments.studies import real_judges_tables as tables


def render_judges(results: Mapping) -> str:
    """The page, the same text for the same results."""
    title = "Entropy and accuracy, and loading and accuracy, of every rule"
    figure = drawn(functools.partial(scatters, results["studies"]), "judges", title)
    studies = results["studies"]
    return render(
        "real_judges.html",
        results=results,
        figure=figure,
        rules=_table(tables.RULES_HEAD, tables.rules_cells(studies)),
        rewards=_table(tables.REWARD_HEAD, tables.reward_cells(studies)),
        critical=_table(tables.CRITICAL_HEAD, tables.critical_cells(studies)),
        junk=_table(tables.JUNK_HEAD, tables.junk_cells(results["junk"])) if results["junk"] else None,
        sets=[
            {
                "name": found["name"],
                "camps": found["camps"],
                "verdict": found["verdict"],
                "factors": found["factors"],
                "effective_rules": found["effective_rules"],
                "methods": _table(tables.METHOD_HEAD, tables.method_cells(found)),
                "rules": _table(tables.RULE_HEAD, tables.rule_cells(found)),
            }
            for found in studies
        ],
        footnotes=tables.footnotes(results),
    )


def _table(head: Sequence[str], rows) -> dict:
    return {"head": head, "rows": [[typeset(cell) if i else cell for i, cell in enumerate(row)] for row in rows]}


def scatters(studies: Sequence[Mapping], sheet: Sheet = PAGE) -> Figure:
    """Above entropy against accuracy, below loading against accuracy (ties half): a panel per data set."""
    size = (sheet.wide, 1.9 * len(studies)) if sheet.phone else (sheet.wide, 4.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = (
        figure.subplots(len(studies), 2, squeeze=False).T
        if sheet.phone
        else figure.subplots(2, len(studies), squeeze=False)
    )
    for column, found in enumerate(studies):
        accuracy = [100 * number(rule["half"]["value"]) for rule in found["rules"]]
        for row, (what, label) in enumerate((("entropy", "entropy, nats"), ("loading", "loading"))):
            axes, r = grid[row, column], found["correlations"][what]["half"]["value"]
            x = [number(rule[what]["value"]) for rule in found["rules"]]
            axes.axhline(50, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
            size = 3 if len(x) > 30 else 5
            axes.plot(x, accuracy, "o", color=BLUE, markersize=size, markeredgecolor="white", markeredgewidth=0.4)
            _line(axes, np.array(x), np.array(accuracy))
            axes.set_xlabel(label)
            name = f"{shortened(found['name'], 24)}\n" if row == 0 else ""
            axes.set_title(f"{name}r = {fixed(r, sign=True)}")
            if column == 0:
                axes.set_ylabel("accuracy, %")
    return figure


def _line(axes, x: np.ndarray, y: np.ndarray) -> None:
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0:
        return
    slope, intercept = np.polyfit(x[known], y[known], 1)
    ends = np.array([x[known].min(), x[known].max()])
    axes.plot(ends, slope * ends + intercept, color=BLUE, linewidth=0.9, linestyle=(0, (5, 3)), alpha=0.6)
