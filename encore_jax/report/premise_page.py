"""The premise on ratings in memory as text, notebook view, page and figure."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from encore_jax.evaluation.premise_of_ratings import PremiseCheck
from encore_jax.formats import fixed, percent, printable
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.text_tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FILE = "premise.html"
TITLE = "Does ENCORE's premise hold on these ratings?"
NOTE = (
    "Entropy in nats, on one grid for all rules. Accuracy: how often the rule prefers what people prefer, a tie "
    "counting half, with a 95 % interval over prompts. Weight: by entropy."
)


def text(found: PremiseCheck) -> str:
    """The answer, the table, and what led to the answer."""
    first, *others = found.sentences()
    return "\n".join([first, "", *aligned(cells(found)), "", *map(printable, others)])


def html(found: PremiseCheck) -> str:
    """The same as a notebook shows it."""
    return render("evaluation_table.html", **_context(found))


def page(found: PremiseCheck) -> str:
    """The page, the same text for the same ratings."""
    from encore_jax.report.svg import drawn

    figures = [drawn(functools.partial(figure, found), "scatter", "Entropy and accuracy of every rule")]
    return render("result.html", **_context(found), title=TITLE, note=NOTE, figures=figures)


def figure(found: PremiseCheck, sheet: Sheet = PAGE) -> Figure:
    """Entropy against accuracy, every rule named."""
    from encore_jax.report.figures import scatter

    rows = zip(found.rules, found.entropy.tolist(), found.accuracy, strict=True)
    rules = [{"name": name, "entropy": h, "accuracy": accuracy._asdict()} for name, h, accuracy in rows]
    return scatter({"name": "ratings", "label": f"{found.comparisons} labelled pairs", "rules": rules}, sheet)


def cells(found: PremiseCheck) -> list[list[str]]:
    """The table: head, then a line for each rule, the lowest entropy first."""
    rows = zip(found.rules, found.entropy.tolist(), found.accuracy, found.weights.tolist(), strict=True)
    return [["rule", "entropy", "weight, %", "accuracy, %", "95 % interval"]] + [
        [printable(name), fixed(h, 3), percent(weight), percent(a.value), f"[{percent(a.low)}, {percent(a.high)}]"]
        for name, h, a, weight in sorted(rows, key=lambda row: row[1])
    ]


def _context(found: PremiseCheck) -> dict:
    head, *rows = cells(found)
    first, *others = found.sentences()
    return {"first": first, "lines": others, "head": head, "rows": rows, "strong": False}
