"""Reliability as HTML: what a notebook shows, and a page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from encore_jax.evaluation.formats import fixed, shortened, typeset
from encore_jax.evaluation.page_file import write_page
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import Reliability
from encore_jax.evaluation.reliability_tables import cells, foretelling, has_labels, head, notes
from encore_jax.evaluation.report_page import page_environment
from encore_jax.evaluation.svg import BLUE, GREY, HALF, WIDE, style, to_svg

MOST_NAMES = 60
"""With more rules the figure of loadings shows their numbers."""
FILE = "reliability.html"


def reliability_html(found: Reliability) -> str:
    """The recommendation and the table of rules, as a notebook shows them."""
    return page_environment().get_template("reliability_table.html").render(_context(found))


def render_reliability(found: Reliability) -> str:
    """The page, the same text for the same ratings."""
    with style():
        figures = [Markup(to_svg(loadings(found), "loadings", "Loading of every rule"))]
        if found.foretells:
            figures.append(Markup(to_svg(scatters(found), "accuracy", "Entropy, loading and accuracy of every rule")))
    return page_environment().get_template("reliability.html").render(_context(found), figures=figures)


def write_report(found: Reliability, path: str | Path) -> Path:
    """Writes the page to a file, or into a folder; see `Reliability.report`."""
    return write_page(path, FILE, render_reliability(found))


def _context(found: Reliability) -> dict:
    rows = [[typeset(cell) if i else cell for i, cell in enumerate(row)] for row in cells(found)]
    camps = [[found.rules[k].rule for k in camp] for camp in found.common.camps]
    return {
        "recommendation": recommendation(found),
        "notes": notes(found),
        "head": head(found),
        "rows": rows,
        "foretelling": [[words, typeset(value)] for words, value in foretelling(found)],
        "label_next": list(found.label_ids),
        "verdict": found.common.verdict,
        "factors": found.common.factors,
        "effective_rules": found.common.effective_rules,
        "camps": camps,
        "between": found.common.between,
        "labelled": has_labels(found),
        "prompts": found.prompts,
        "rules": len(found.rules),
        "accuracy": [(name, found.accuracy[name], found.better_than_uniform.get(name)) for name in found.accuracy],
    }


def loadings(found: Reliability) -> Figure:
    """Loading of every rule with its interval, the strongest first."""
    known = [(k, line) for k, line in enumerate(found.rules) if np.isfinite(line.loading)]
    known.sort(key=lambda item: -item[1].loading)
    named = len(known) <= MOST_NAMES
    figure = Figure(
        figsize=(WIDE if named else HALF, 0.7 + (0.17 if named else 0.06) * len(known)), layout="constrained"
    )
    axes = figure.add_subplot()
    for row, (_, line) in enumerate(known):
        axes.hlines(row, line.loading_low, line.loading_high, color=GREY, linewidth=1)
        axes.plot(line.loading, row, "o", color=BLUE, markersize=4.5 if named else 2.5)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(max(len(known), 1) - 0.4, -0.6)
    axes.set_yticks(range(len(known)) if named else [], [shortened(line.rule) for _, line in known] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("loading, with 95 % interval over prompts")
    return figure


def scatters(found: Reliability) -> Figure:
    """Entropy, and beside it loading, against accuracy (ties half)."""
    figure = Figure(figsize=(WIDE, 3.0), layout="constrained")
    for axes, what, label, r in zip(
        figure.subplots(1, 2), ("entropy", "loading"), ("entropy, nats", "loading"), ("entropy", "loading"), strict=True
    ):
        points = np.array([(getattr(line, what), 100 * line.half) for line in found.rules])
        axes.axhline(50, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.plot(points[:, 0], points[:, 1], "o", color=BLUE, markersize=4.5)
        axes.set_xlabel(label)
        axes.set_title(f"r = {fixed(found.foretells[r], sign=True)}")
        axes.set_ylabel("accuracy, %")
    return figure
