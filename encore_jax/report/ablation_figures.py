"""The figures of an ablation: shares of variance, marginal means, rules, heat maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore_jax.formats import bounds, fixed, known, percent, points, shortened
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BARS, BLUE, GREY, INK, ON_DARK, ON_LIGHT, PALE, SIMULATED, VERMILION, drawn

SHOWN = 12
"""Most rows of the figure of shares."""


def ablation_figures(results: dict) -> dict[str, object]:
    """Figures by name; "marginals" and "heat_maps" are lists of them, "sizes" and "rules" may be None."""
    label, found = results["label"], results["found"]

    def made(draw: Callable[..., Figure], given: object, name: str, title: str) -> Markup:
        return drawn(lambda sheet: draw(given, label, sheet), f"ablation-{name}", title)

    return {
        "shares": made(shares, found, "shares", "Which choices matter"),
        "marginals": [
            drawn(lambda sheet, n=n, r=r: marginal(n, r, label, sheet), f"ablation-marginal-{n}", f"Accuracy by {n}")
            for n, r in found["marginals"].items()
        ],
        "heat_maps": [
            made(heat_map, table, f"heat-{i}", f"Accuracy by {' and '.join(table['axes'])}")
            for i, table in enumerate(found["heat_maps"])
        ],
        "sizes": made(sizes, found["sizes"], "sizes", "Accuracy by number of rules") if found["sizes"] else None,
        "rules": made(rules, found["rules"], "rules", "What including a rule is worth") if found["rules"] else None,
    }


def _tag(figure: Figure, label: str) -> None:
    made_up = label == "semi-synthetic"
    look = {"fontweight": "bold", "color": VERMILION} if made_up else {"color": GREY}
    figure.text(0.995, 0.995, SIMULATED if made_up else label, ha="right", va="top", fontsize=7, **look)


def shares(found: dict, label: str, sheet: Sheet = PAGE) -> Figure:
    """Share of the variance by choice (filled) and by pair of choices (hatched), largest first."""
    rows = [(row, False) for row in found["main"]] + [(row, True) for row in found["pairs"]]
    rows = sorted(rows, key=lambda row: -row[0]["share"])[:SHOWN]
    figure = Figure(figsize=(sheet.wide, sheet.below + 0.22 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for y, (row, pair) in enumerate(rows):
        look = {"color": "white", "hatch": "////"} if pair else {"color": BARS}
        axes.barh(y, 100 * row["share"], height=0.66, edgecolor=BLUE, linewidth=0.5, **look)
        axes.annotate(percent(row["share"]), (100 * row["share"], y), (4, 0), textcoords="offset points", va="center")
    _names(axes, [row["choice"] for row, _ in rows], sheet)
    axes.set_xlim(0, 1.12 * max(100 * rows[0][0]["share"], 1) if rows else 1)
    axes.set_xlabel(sheet.label("share of the variance of accuracy over all settings, %"))
    axes.set_title(" ", fontsize=6)
    _tag(figure, label)
    return figure


def _names(axes: Axes, names: list[str], sheet: Sheet) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [sheet.name(name, 36) for name in names])
    axes.tick_params(axis="y", length=0)


def marginal(name: str, rows: list[dict], label: str, sheet: Sheet = PAGE) -> Figure:
    """Mean accuracy by value, its interval, and how much the other choices spread it."""
    figure = Figure(figsize=(sheet.half, 2.5), layout="constrained")
    axes = figure.add_subplot()
    _curve(axes, [row["value"] for row in rows], rows)
    axes.set_xlabel(name)
    _tag(figure, label)
    return figure


def sizes(rows: list[dict], label: str, sheet: Sheet = PAGE) -> Figure:
    """The same by the number of rules in the subset."""
    figure = Figure(figsize=(sheet.half, 2.5), layout="constrained")
    axes = figure.add_subplot()
    _curve(axes, [str(row["size"]) for row in rows], rows)
    axes.set_xlabel("number of rules")
    _tag(figure, label)
    return figure


def _curve(axes: Axes, names: list[str], rows: list[dict]) -> None:
    x, mean = np.arange(len(rows)), 100 * np.array([row["accuracy"]["value"] for row in rows])
    sd = 100 * np.array([row["sd"] for row in rows])
    axes.fill_between(x, mean - sd, mean + sd, color=PALE, alpha=0.6, linewidth=0)
    axes.plot(x, mean, "o-", color=BLUE, markersize=4.5, linewidth=1.2)
    for at, row in zip(x, rows, strict=True):
        low, high = row["accuracy"]["low"], row["accuracy"]["high"]
        if known(low) and known(high):
            axes.vlines(at, 100 * low, 100 * high, color=INK, linewidth=1)
    crowded = len(rows) > 8 or max(map(len, names)) > 8
    every = max(1, len(rows) // 16)
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded and every == 1 else {}
    axes.set_xticks(x[::every], [shortened(name, 16) for name in names[::every]], **turned)
    axes.set_ylabel("accuracy, %")
    axes.set_title(" ", fontsize=6)


def rules(rows: list[dict], label: str, sheet: Sheet = PAGE) -> Figure:
    """What including each rule is worth, in points."""
    figure = Figure(figsize=(sheet.wide, sheet.below + 0.19 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        effect = row["effect"]
        if known(effect["low"]):
            axes.hlines(y, 100 * effect["low"], 100 * effect["high"], color=INK, linewidth=1)
        axes.plot(100 * effect["value"], y, "o", color=BLUE, markersize=5, zorder=3)
        text = f"{points(effect['value'])} {bounds(effect, points) if known(effect['low']) and not sheet.phone else ''}"
        axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    _names(axes, [row["name"] for row in rows], sheet)
    axes.set_xlabel(sheet.label("accuracy of subsets with the rule minus subsets without, points"))
    axes.set_title(" ", fontsize=6)
    _tag(figure, label)
    return figure


def heat_map(table: dict, label: str, sheet: Sheet = PAGE) -> Figure:
    """Mean accuracy at each pair of values."""
    values = 100 * np.array(table["accuracy"])
    figure = Figure(figsize=(sheet.half, 1.0 + 0.26 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    middle, span = values.mean(), max(np.ptp(values), 2.0)
    low, high = middle - 0.75 * span, middle + 0.75 * span
    axes.pcolormesh(values, cmap="Blues", vmin=low, vmax=high, edgecolors="white", linewidth=1)
    if values.shape[1] <= 9:
        for (row, column), value in np.ndenumerate(values):
            color = ON_DARK if value > low + 0.62 * (high - low) else ON_LIGHT
            place = {"ha": "center", "va": "center", "fontsize": 7}
            axes.text(column + 0.5, row + 0.5, fixed(value, 1), color=color, **place)
    for set_ticks, names in ((axes.set_yticks, table["values"][0]), (axes.set_xticks, table["values"][1])):
        set_ticks(np.arange(len(names)) + 0.5, [shortened(name, 12) for name in names])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(table["axes"][0])
    axes.set_xlabel(table["axes"][1])
    axes.set_title(" ", fontsize=6)
    _tag(figure, label)
    return figure
