"""Figures of the noise study: what kind of noise makes entropy a guide to accuracy."""

from __future__ import annotations

import functools

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore_jax.formats import number, shortened
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SIMULATED, VERMILION, drawn

_LINES = (
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 2))),
    (GREEN, "^", (0, (1, 1.2))),
    (PURPLE, "D", (0, (4, 1.5, 1, 1.5))),
    (ORANGE, "v", (0, (2, 2))),
    (INK, "X", (0, (6, 1))),
)


def noise_figures(study: dict, prefix: str) -> dict[str, Markup]:
    """Both figures as SVG, by name."""
    drawings = (
        ("correlation", "Correlation by noise, semi-synthetic", correlation),
        ("gain", "Gain of ENCORE and agreement by noise, semi-synthetic", gain),
    )
    return {name: drawn(functools.partial(draw, study), f"{prefix}-{name}", title) for name, title, draw in drawings}


def correlation(study: dict, sheet: Sheet = PAGE) -> Figure:
    """r(entropy, accuracy) against the worst judge's noise level, a line per noise model; mean and sd of juries."""
    figure = Figure(figsize=(sheet.wide, 3.6 if sheet.phone else 2.7), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, outcome) in enumerate(study["noise"].items()):
        _line(axes, study["worst"], outcome["correlation"], i, len(study["noise"]), name)
    axes.set_ylim(-1.06, 1.06)
    axes.set_ylabel("r(entropy, accuracy)")
    _finish(axes, study)
    if sheet.phone:
        figure.legend(title="noise model", loc="outside lower center", ncol=2)
    else:
        axes.legend(title="noise model", loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle(" ", fontsize=6)
    _tag(figure)
    return figure


def gain(study: dict, sheet: Sheet = PAGE) -> Figure:
    """ENCORE minus uniform against the worst judge's noise level: a panel per noise model, a line per temperature.

    And a line for agreement minus uniform.
    """
    names = list(study["noise"])
    size = (sheet.wide, 1.0 + 2.1 * len(names)) if sheet.phone else (sheet.wide, 2.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = (len(names), 1) if sheet.phone else (1, len(names))
    panels = figure.subplots(*grid, sharey=True, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=True):
        for i, (tau, outcome) in enumerate(zip(study["tau"], study["noise"][name]["gain"], strict=True)):
            _line(axes, study["worst"], outcome, i, len(study["tau"]) + 1, f"ENCORE, τ = {tau:g}", scale=100)
        if agreement := study["noise"][name].get("agreement"):  # not of two judges, nor in older results
            i = len(study["tau"])
            _line(axes, study["worst"], agreement, i, i + 1, "agreement", scale=100)
        axes.set_title(shortened(name))
        _finish(axes, study)
    panels[0].set_ylabel("minus uniform, points")
    if sheet.phone:
        figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncol=2)
    else:
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(" ", fontsize=6)
    _tag(figure)
    return figure


def _line(axes: Axes, x, outcome: dict, index: int, lines: int, label: str, scale: float = 1) -> None:
    """Mean and standard deviation; lines stand a little apart so that error bars do not hide each other."""
    color, marker, dashes = _LINES[index % len(_LINES)]
    shifted = np.array(x, float) + 0.012 * (index - (lines - 1) / 2)
    axes.errorbar(
        shifted,
        [scale * number(mean) for mean in outcome["mean"]],
        [scale * number(sd) for sd in outcome["sd"]],
        color=color,
        marker=marker,
        markersize=4,
        linestyle=dashes,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=shortened(label),
    )


def _finish(axes: Axes, study: dict) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_xticks(study["worst"], [f"{level:g}" for level in study["worst"]])
    axes.set_xlabel("worst judge's noise level λ")


def _tag(figure: Figure) -> None:
    figure.text(0.995, 0.995, SIMULATED, ha="right", va="top", fontsize=7, fontweight="bold", color=VERMILION)
