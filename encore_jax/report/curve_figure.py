"""The figure of a gradient run: training and held-out loss by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREY, VERMILION, drawn


def curve_figure(metrics: Sequence[Mapping[str, float]], smooth: int = 10) -> Markup:
    """Training and held-out loss by step; the thick line is a running mean over `smooth` steps."""
    return drawn(lambda sheet: curve(metrics, smooth, sheet), "curve", "Loss by optimizer step")


def curve(metrics: Sequence[Mapping[str, float]], smooth: int = 10, sheet: Sheet = PAGE) -> Figure:
    """The same as a matplotlib figure."""
    training = [(line["step"], line["loss"]) for line in metrics if "loss" in line]
    held_out = [(line["step"], line["held_out_loss"]) for line in metrics if "held_out_loss" in line]
    figure = Figure(figsize=(sheet.wide, 3.2))
    axes = figure.add_axes((0.15, 0.14, 0.83, 0.82) if sheet.phone else (0.07, 0.14, 0.91, 0.82))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    if training:
        steps, losses = np.array(training).T
        axes.plot(steps, losses, color=GREY, linewidth=0.5, alpha=0.6, label="every step")
        kernel = np.ones(min(smooth, len(losses)))
        mean = np.convolve(losses, kernel, "valid") / len(kernel)
        axes.plot(steps[len(kernel) - 1 :], mean, color=BLUE, linewidth=1.6, label=f"mean of {len(kernel)} steps")
    if held_out:
        steps, losses = np.array(held_out).T
        axes.plot(steps, losses, "o--", color=VERMILION, linewidth=1, markersize=4, label="held out")
    axes.legend()
    return figure
