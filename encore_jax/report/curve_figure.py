"""The figure of a gradient run: training and held-out loss by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from encore_jax.report.svg import BLUE, GREY, VERMILION, WIDE, style, to_svg


def curve_figure(metrics: Sequence[Mapping[str, float]], smooth: int = 10) -> str:
    """Training and held-out loss by step as SVG; the thick line is a running mean over `smooth` steps."""
    training = [(line["step"], line["loss"]) for line in metrics if "loss" in line]
    held_out = [(line["step"], line["held_out_loss"]) for line in metrics if "held_out_loss" in line]
    with style():
        figure = Figure(figsize=(WIDE, 3.2))
        axes = figure.add_axes((0.07, 0.14, 0.91, 0.82))
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
        return to_svg(figure, "curve", "Loss by optimizer step")
