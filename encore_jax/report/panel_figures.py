"""The figure of a panel: who follows the others on which rule, and what every judge is worth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore_jax.evaluation.panel import PanelReliability
from encore_jax.formats import fixed, shortened
from encore_jax.report.interval_figures import draw_intervals
from encore_jax.report.sheet import PAGE
from encore_jax.report.svg import GREY, ON_DARK, ON_LIGHT

REST = "correlation with the mean of the others (95 % interval)"
ACCURACY = "agrees with people, % (95 % interval)"
MOST_NUMBERS = 12
"""With more rules the cells of the heat map hold no numbers."""


def panel_figure(found: PanelReliability) -> Figure:
    """Loadings, a row for each judge and a column for each rule; beside them every judge's correlation with the rest,
    or its accuracy where people chose."""
    figure = Figure(figsize=(PAGE.wide, 1.6 + 0.3 * len(found.judges)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _heat_map(left, found)
    if any(line.labels for line in found.judges):
        rows = [(line.judge, 100 * line.accuracy, 100 * line.low, 100 * line.high) for line in found.judges]
        draw_intervals(right, rows, ACCURACY, middle=50.0, names=False)
    else:
        rows = [(line.judge, line.rest, line.rest_low, line.rest_high) for line in found.judges]
        draw_intervals(right, rows, REST, middle=0.0, names=False)
    right.set_ylim(len(found.judges) - 0.5, -0.5)
    return figure


def _heat_map(axes: Axes, found: PanelReliability) -> None:
    axes.imshow(found.loading, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    if len(found.rules) <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(found.loading):
            color = GREY if np.isnan(value) else ON_DARK if abs(value) > 0.6 else ON_LIGHT
            axes.text(column, row, fixed(value, sign=True), ha="center", va="center", fontsize=7, color=color)
    axes.set_yticks(range(len(found.judges)), [shortened(line.judge) for line in found.judges])
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(found.rules)), [shortened(rule, 22) for rule in found.rules], **turned)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("loading on what all of them have in common")
