"""Figures of an adapter's or a RAMO run."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from encore_jax.evaluation.ramo import ARM_WORDS
from encore_jax.formats import number
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, drawn

LOOK = {"largest": (BLUE, "o", "largest |d|"), "random": (GREY, "s", "random"), "best": (GREEN, "^", "best by |Σ d|")}
CURVES = (("oracle", GREEN, "^"), ("adapter", BLUE, "o"), ("fixed", ORANGE, "D"), ("random", GREY, "s"))


def ramo_figures(results: Mapping) -> dict[str, Markup]:
    """Every figure of the page, by name."""
    drawings = [
        ("rules", "How often each rule is critical, and how well that is predicted", _rules, results["adapter"]),
        ("calibration", "Calibration of the adapter's probabilities", _calibration, results["adapter"]),
        ("simulation", "Simulated mutual information by share of flipped signs", _simulation,
         results["simulation"]["rows"]),
    ]  # fmt: skip
    if results["kind"] == "ramo":
        title = "Mutual information of labels and human preference"
        drawings.append(("information", title, _information, results["labels"]))
        title = "Accuracy of reward models by number of selected rules"
        drawings.append(("by_r", title, _by_r, results["arms"]["rows"]))
    return {
        name: drawn(functools.partial(draw, given), name.replace("_", "-"), title)
        for name, title, draw, given in drawings
    }


def _bars(interval: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    value, low, high = (np.array([number(row[key]) for row in interval]) for key in ("value", "low", "high"))
    return value, np.maximum([value - low, high - value], 0)


def _information(labels: Sequence[Mapping], sheet: Sheet = PAGE) -> Figure:
    rows = [row for row in labels if row["arm"] != "human"]
    value, error = _bars([row["information"] for row in rows])
    names = [ARM_WORDS[row["arm"]] + (f", r = {row['r']}" if row["r"] else "") for row in rows]
    figure = Figure(figsize=(sheet.wide, 0.8 + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    y = np.arange(len(rows))[::-1]
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.errorbar(1000 * value, y, xerr=1000 * error, fmt="o", color=BLUE, markersize=4, linewidth=1)
    axes.set_yticks(y, [sheet.name(name, 56) for name in names])
    axes.set_xlabel(sheet.label("I(label; people's preference), thousandths of a nat"))
    return figure


def _simulation(rows: Sequence[Mapping], sheet: Sheet = PAGE) -> Figure:
    figure = Figure(figsize=(sheet.wide, 4.2 if sheet.phone else 3.0), layout="constrained")
    axes = figure.add_subplot()
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
    figure.legend(loc="outside lower left") if sheet.phone else axes.legend()
    return figure


def _by_r(rows: Sequence[Mapping], sheet: Sheet = PAGE) -> Figure:
    figure = Figure(figsize=(sheet.half, 3.0))
    axes = figure.add_axes((0.15, 0.16, 0.82, 0.8))
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
                axes.axhline(100 * row["accuracy"]["value"], linestyle=line, color=INK, linewidth=1, label=arm)
    axes.set_xlabel("r, rules selected")
    axes.set_ylabel("accuracy on held-out comparisons, %")
    axes.legend(ncol=2)
    return figure


def _rules(adapter: Mapping, sheet: Sheet = PAGE) -> Figure:
    rules = sorted(adapter["rules"], key=lambda rule: rule["share"])
    shown = rules[-30:]
    height = 0.7 + 0.17 * len(shown)
    figure = Figure(figsize=(sheet.wide, height), layout="constrained")
    y = np.arange(len(shown))
    share = "critical in, %" if sheet.phone else "critical in, % of held-out comparisons"
    both = (("share", share), ("auc", "AUC, %"))
    for i, (axes, (key, words)) in enumerate(zip(figure.subplots(1, 2), both, strict=True)):
        axes.plot([100 * number(rule[key]) for rule in shown], y, "o", color=BLUE, markersize=4)
        axes.set_yticks(y, [sheet.name(rule["name"], 34) for rule in shown] if i == 0 else [""] * len(shown))
        axes.set_xlabel(words)
        if key == "auc":
            axes.axvline(50, color=GREY, linewidth=0.8)
    return figure


def _calibration(adapter: Mapping, sheet: Sheet = PAGE) -> Figure:
    bins = adapter["calibration"]["bins"]
    figure = Figure(figsize=(sheet.half, 3.0))
    axes = figure.add_axes((0.14, 0.16, 0.83, 0.8))
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8)
    axes.plot([100 * b["predicted"] for b in bins], [100 * b["observed"] for b in bins], "o-", color=BLUE)
    axes.set_xlabel("predicted to be critical, %")
    axes.set_ylabel("critical, %")
    return figure
