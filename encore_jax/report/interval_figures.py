"""Values with their intervals, a row each: of rules, judges or rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREY

MOST_NAMES = 60
"""With more rows a figure goes without names."""
Row = tuple[str, float, float, float]
"""Name, value, low, high."""


def height(rows: int, sheet: Sheet = PAGE) -> float:
    """Of a figure with so many rows, in inches."""
    return sheet.below + (0.17 if rows <= MOST_NAMES else 0.06) * rows


def intervals(
    rows: Sequence[Row],
    label: str,
    *,
    middle: float,
    limits: tuple[float, float] | None = None,
    sheet: Sheet = PAGE,
) -> Figure:
    """A figure of one column of values, in the order of the rows.

    Args:
      rows: the first is the uppermost.
      label: of the axis.
      middle: where a dotted line stands: chance, or no relation.
      limits: of the axis; what the intervals need if left out.
      sheet: what it is drawn for.
    """
    size = (sheet.wide if len(rows) <= MOST_NAMES else sheet.half, height(len(rows), sheet))
    figure = Figure(figsize=size, layout="constrained")
    draw_intervals(figure.add_subplot(), rows, label, middle=middle, limits=limits, sheet=sheet)
    return figure


def draw_intervals(
    axes: Axes,
    rows: Sequence[Row],
    label: str,
    *,
    middle: float,
    limits: tuple[float, float] | None = None,
    names: bool = True,
    sheet: Sheet = PAGE,
) -> None:
    """The same on given axes; `names` says whether the rows are named here, or beside the axes on the left."""
    few = len(rows) <= MOST_NAMES
    values = np.array([row[1:] for row in rows], float).reshape(-1, 3)
    places = np.arange(len(rows))
    axes.hlines(places, values[:, 1], values[:, 2], color=GREY, linewidth=1)
    axes.plot(values[:, 0], places, "o", color=BLUE, markersize=4.5 if few else 2.5)
    axes.axvline(middle, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    if limits:
        axes.set_xlim(limits)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    named = few and names
    axes.set_yticks(places if named else [], [sheet.name(row[0]) for row in rows] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(sheet.label(label))
