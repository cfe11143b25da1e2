"""Figures of the noise study: what kind of noise makes entropy a guide to accuracy."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore_jax.formats import number, shortened
from encore_jax.report.svg import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SIMULATED, VERMILION, WIDE, style, to_svg

_LINES = (
    (BLUE, "o", "-"),
    (VERMILION, "s", (0, (5, 2))),
    (GREEN, "^", (0, (1, 1.2))),
    (PURPLE, "D", (0, (4, 1.5, 1, 1.5))),
    (ORANGE, "v", (0, (2, 2))),
    (INK, "X", (0, (6, 1))),
)


def noise_figures(study: dict, prefix: str) -> dict[str, str]:
    """Both figures as SVG, by name."""
    with style():
        return {
            "correlation": to_svg(correlation(study), f"{prefix}-correlation", "Correlation by noise, semi-synthetic"),
            "gain": to_svg(gain(study), f"{prefix}-gain", "Gain of ENCORE and agreement by noise, semi-synthetic"),
        }


def correlation(study: dict) -> Figure:
    """r(entropy, accuracy) against the worst judge's noise level, a line per noise model; mean and sd of juries."""
    figure = Figure(figsize=(WIDE, 2.7), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, outcome) in enumerate(study["noise"].items()):
        _line(axes, study["worst"], outcome["correlation"], i, len(study["noise"]), name)
    axes.set_ylim(-1.06, 1.06)
    axes.set_ylabel("r(entropy, accuracy)")
    _finish(axes, study)
    axes.legend(title="noise model", loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.suptitle(" ", fontsize=6)
    _tag(figure)
    return figure


def gain(study: dict) -> Figure:
    """ENCORE minus uniform against the worst judge's noise level: a panel per noise model, a line per temperature.

    And a line for agreement minus uniform.
    """
    names = list(study["noise"])
    figure = Figure(figsize=(WIDE, 2.5), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for i, (tau, outcome) in enumerate(zip(study["tau"], study["noise"][name]["gain"], strict=True)):
            _line(axes, study["worst"], outcome, i, len(study["tau"]) + 1, f"ENCORE, τ = {tau:g}", scale=100)
        if agreement := study["noise"][name].get("agreement"):  # not of two judges, nor in older results
            i = len(study["tau"])
            _line(axes, study["worst"], agreement, i, i + 1, "agreement", scale=100)
        axes.set_title(shortened(name))
        _finish(axes, study)
    panels[0].set_ylabel("minus uniform, points")
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
    figure.text(0.995, 0.995, SIMULATED, ha="right", va="top", fontsize=6.5, fontweight="bold", color=VERMILION)
