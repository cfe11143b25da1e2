"""Figures of an adapter's or a RAMO run, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from encore_jax.evaluation.ramo import ARM_WORDS
from encore_jax.formats import number, shortened
from encore_jax.report.svg import BLUE, GREEN, GREY, HALF, ORANGE, VERMILION, WIDE, style, to_svg

LOOK = {"largest": (BLUE, "o", "largest |d|"), "random": (GREY, "s", "random"), "best": (GREEN, "^", "best by |Σ d|")}
CURVES = (("oracle", GREEN, "^"), ("adapter", BLUE, "o"), ("fixed", ORANGE, "D"), ("random", GREY, "s"))


def ramo_figures(results: Mapping) -> dict[str, str]:
    """Every figure of the page, by name."""
    figures = {"rules": _rules(results["adapter"]), "calibration": _calibration(results["adapter"])}
    figures["simulation"] = _simulation(results["simulation"]["rows"])
    if results["kind"] == "ramo":
        figures["information"] = _information(results["labels"])
        figures["by_r"] = _by_r(results["arms"]["rows"])
    return figures


def _bars(interval: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    value, low, high = (np.array([number(row[key]) for row in interval]) for key in ("value", "low", "high"))
    return value, np.maximum([value - low, high - value], 0)


def _information(labels: Sequence[Mapping]) -> str:
    rows = [row for row in labels if row["arm"] != "human"]
    value, error = _bars([row["information"] for row in rows])
    names = [ARM_WORDS[row["arm"]] + (f", r = {row['r']}" if row["r"] else "") for row in rows]
    with style():
        figure = Figure(figsize=(WIDE, 0.6 + 0.2 * len(rows)))
        axes = figure.add_axes((0.42, 0.6 / (0.6 + 0.2 * len(rows)), 0.56, 1 - 0.65 / (0.6 + 0.2 * len(rows))))
        y = np.arange(len(rows))[::-1]
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.errorbar(1000 * value, y, xerr=1000 * error, fmt="o", color=BLUE, markersize=4, linewidth=1)
        axes.set_yticks(y, [shortened(name, 56) for name in names])
        axes.set_xlabel("I(label; people's preference), thousandths of a nat")
        return to_svg(figure, "information", "Mutual information of labels and human preference")


def _simulation(rows: Sequence[Mapping]) -> str:
    with style():
        figure = Figure(figsize=(WIDE, 3.0))
        axes = figure.add_axes((0.08, 0.16, 0.9, 0.8))
        for strategy, (color, marker, words) in LOOK.items():
            own = [row for row in rows if row["strategy"] == strategy]
            flips = [100 * row["flips"] for row in own]
            value, error = _bars([row["information"] for row in own])
            axes.errorbar(flips, value, yerr=error, fmt=marker, color=color, markersize=4, label=f"{words}, simulated")
            axes.plot(flips, [row["exact"] for row in own], color=color, linewidth=0.8)
            if strategy == "largest":
                predicted = [row["predicted"] for row in own]
                axes.plot(flips, predicted, "--", color=VERMILION, label="largest |d|, argument that ignores signs")
        axes.set_xlabel("share of rules whose sign is flipped, %")
        axes.set_ylabel("information, nats")
        axes.set_ylim(bottom=0)
        axes.legend()
        return to_svg(figure, "simulation", "Simulated mutual information by share of flipped signs")


def _by_r(rows: Sequence[Mapping]) -> str:
    with style():
        figure = Figure(figsize=(HALF, 3.0))
        axes = figure.add_axes((0.14, 0.16, 0.83, 0.8))
        for arm, color, marker in CURVES:
            own = sorted((row for row in rows if row["arm"] == arm and not row["size"]), key=lambda row: row["r"])
            if own:
                value, error = _bars([row["accuracy"] for row in own])
                place = [row["r"] for row in own]
                axes.errorbar(place, 100 * value, yerr=100 * error, fmt=f"{marker}-", color=color, label=arm,
                              linewidth=1, markersize=4)  # fmt: skip
        for arm, line in (("all", "-"), ("initial", ":"), ("human", "--")):
            for row in rows:
                if row["arm"] == arm and not row["size"]:
                    axes.axhline(
                        100 * row["accuracy"]["value"], linestyle=line, color="#555555", linewidth=1, label=arm
                    )
        axes.set_xlabel("r, rules selected")
        axes.set_ylabel("accuracy on held-out comparisons, %")
        axes.legend(ncol=2)
        return to_svg(figure, "by-r", "Accuracy of reward models by number of selected rules")


def _rules(adapter: Mapping) -> str:
    rules = sorted(adapter["rules"], key=lambda rule: rule["share"])
    shown = rules[-30:]
    with style():
        height = 0.7 + 0.17 * len(shown)
        figure = Figure(figsize=(WIDE, height))
        y = np.arange(len(shown))
        for i, (key, words) in enumerate((("share", "critical in, % of held-out comparisons"), ("auc", "AUC, %"))):
            axes = figure.add_axes((0.3 + 0.36 * i, 0.5 / height, 0.32, 1 - 0.55 / height))
            axes.plot([100 * number(rule[key]) for rule in shown], y, "o", color=BLUE, markersize=4)
            axes.set_yticks(y, [shortened(rule["name"], 34) for rule in shown] if i == 0 else [""] * len(shown))
            axes.set_xlabel(words)
            if key == "auc":
                axes.axvline(50, color=GREY, linewidth=0.8)
        return to_svg(figure, "rules", "How often each rule is critical, and how well that is predicted")


def _calibration(adapter: Mapping) -> str:
    bins = adapter["calibration"]["bins"]
    with style():
        figure = Figure(figsize=(HALF, 3.0))
        axes = figure.add_axes((0.14, 0.16, 0.83, 0.8))
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8)
        axes.plot([100 * b["predicted"] for b in bins], [100 * b["observed"] for b in bins], "o-", color=BLUE)
        axes.set_xlabel("predicted to be critical, %")
        axes.set_ylabel("critical, %")
        return to_svg(figure, "calibration", "Calibration of the adapter's probabilities")
