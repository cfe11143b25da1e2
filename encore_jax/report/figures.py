"""The figures of one view: entropy against accuracy, weights, rating histograms, methods, sensitivity."""

from __future__ import annotations

import functools
import math

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from encore_jax.evaluation.method_names import REFERENCE, SINGLE
from encore_jax.formats import bounds, fixed, known, number, percent, shortened
from encore_jax.report.point_labels import place_labels
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BARS, BLUE, GREY, INK, ON_DARK, ON_LIGHT, PALE, SIMULATED, VERMILION, drawn
from encore_jax.report.tables import oracle_name

MOST_NAMES = 30
"""With more rules than this, a scatter plot shows their numbers, and a forest plot leaves single rules out."""
CROWDED = 12
"""With more rules than this, figures that name them take the page's whole width."""
_MARKERS = {"ratings": "o", "scores": "v", "nothing": "s", "train labels": "^", "test labels": "D", "text": "x"}


def view_figures(view: dict, prefix: str) -> dict[str, Markup]:
    """All figures of a view as SVG, by name."""
    drawings = (
        ("scatter", "Entropy and accuracy of every rule", scatter),
        ("weights", f"Weights by {view.get('weighting', 'ENCORE')}", weights),
        ("variants", "Correlation under other measures of entropy", variants),
        ("forest", "Accuracy of every method", forest),
        ("sensitivity", "Accuracy by temperature and levels", sensitivity),
        ("histograms", "Ratings of every rule", histograms),
    )
    seen = f"view {view['name']} ({view['label']})"
    return {
        name: drawn(functools.partial(draw, view), f"{prefix}-{name}", f"{title}, {seen}")
        for name, title, draw in drawings
    }


def _tag(figure: Figure, view: dict) -> None:
    """Says in the figure itself where its ratings come from, should it be cut out of the page."""
    if view["label"] == "semi-synthetic":
        figure.text(0.995, 0.995, SIMULATED, ha="right", va="top", fontsize=7, fontweight="bold", color=VERMILION)
    else:
        figure.text(0.995, 0.995, shortened(view["label"]), ha="right", va="top", fontsize=7, color=GREY)


def scatter(view: dict, sheet: Sheet = PAGE) -> Figure:
    """Entropy against accuracy (ties half) with the accuracies' intervals; every point named."""
    crowded = len(view["rules"]) > CROWDED
    figure = Figure(figsize=(sheet.wide, 5) if crowded else (sheet.half, 3.4))
    small = (0.13, 0.1, 0.85, 0.84) if crowded else (0.13, 0.135, 0.85, 0.79)
    axes = figure.add_axes((0.065, 0.09, 0.925, 0.86) if crowded and not sheet.phone else small)
    rules = [(i, r) for i, r in enumerate(view["rules"]) if known(r["entropy"]) and known(r["accuracy"]["value"])]
    axes.set_xlabel("entropy of the ratings, H")
    axes.set_ylabel("accuracy, %")
    if rules:
        x = np.array([r["entropy"] for _, r in rules])
        y = 100 * np.array([[number(r["accuracy"][k]) for k in ("value", "low", "high")] for _, r in rules])
        _limits(axes, x, y)
        line = _trend(x, y[:, 0])
        axes.plot(line[:, 0], line[:, 1], color=BLUE, linewidth=0.9, linestyle=(0, (5, 3)), alpha=0.6, zorder=1)
        axes.vlines(x, y[:, 1], y[:, 2], color=GREY, linewidth=0.9, zorder=2)
        axes.plot(x, y[:, 0], "o", color=BLUE, markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=3)
        names = [sheet.name(r["name"], 24) if len(rules) <= MOST_NAMES else str(i + 1) for i, r in rules]
        place_labels(axes, names, x, y, line)
    axes.axhline(50, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate("chance", (1, 50), (-1, 2), color=GREY, fontsize=7, **place)
    _tag(figure, view)
    return figure


def _limits(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    space = max(0.08 * np.ptp(x), 0.02)
    axes.set_xlim(x.min() - space, x.max() + 2.2 * space)
    low, high = np.nanmin(y), np.nanmax(y)
    axes.set_ylim(max(min(low, 50) - 4, -2), min(max(high, 50) + 4, 102))


def _trend(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points ``[P, 2]`` of the least-squares line; none where there is no such line."""
    if len(x) < 3 or np.ptp(x) == 0:
        return np.zeros((0, 2))
    slope = np.cov(x, y, bias=True)[0, 1] / x.var()
    along = np.linspace(x.min(), x.max(), 60)
    return np.stack([along, y.mean() + slope * (along - x.mean())], 1)


def weights(view: dict, sheet: Sheet = PAGE) -> Figure:
    """The composed reward's weights as bars, heaviest first, beside the line of equal weights."""
    rules = sorted(view["rules"], key=lambda rule: -rule["weight"] if known(rule["weight"]) else math.inf)
    crowded = len(rules) > CROWDED
    size = (sheet.wide, 0.65 + 0.17 * len(rules)) if crowded else (sheet.half, max(1.5, 0.65 + 0.275 * len(rules)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    values = np.array([100 * r["weight"] if known(r["weight"]) else 0.0 for r in rules])
    rows = np.arange(len(rules))
    axes.barh(rows, values, height=0.66, color=BARS, edgecolor=BLUE, linewidth=0.5)
    for row, rule in zip(rows, rules, strict=True):
        axes.annotate(
            percent(rule["weight"]), (0, row), (4, 0), textcoords="offset points", va="center_baseline", fontsize=8
        )
    uniform = 100 / len(rules)
    axes.axvline(uniform, color=INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.set_xlim(0, 1.12 * max(values.max(), uniform))
    axes.set_ylim(len(rules) - 0.5, -0.6)
    axes.set_yticks(rows, [sheet.name(r["name"]) for r in rules])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(sheet.label(f"weight, %; dashed: equal weights, {fixed(uniform, 1)}"))
    axes.set_title(" ", fontsize=6)  # room for the tag
    _tag(figure, view)
    return figure


def variants(view: dict, sheet: Sheet = PAGE) -> Figure:
    """r with its interval over rules, entropy being measured in several ways."""
    table = view["premise"]["variants"]
    figure = Figure(figsize=(sheet.half, 0.7 + 0.22 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    for row, (r, low, high) in enumerate(table.values()):
        if known(low) and known(high):
            axes.hlines(row, low, high, color=INK, linewidth=1)
        if known(r):
            axes.plot(r, row, "o", color=INK, markerfacecolor="white", markersize=5, zorder=3)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_yticks(range(len(table)), [sheet.name(name, 36) for name in table])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("r; ENCORE needs it below 0")
    axes.set_title(" ", fontsize=6)
    _tag(figure, view)
    return figure


def forest(view: dict, sheet: Sheet = PAGE) -> Figure:
    """Accuracy of every method with its interval; the line is uniform's."""
    methods = view["methods"]
    singles = [m for m in methods if m["name"].startswith(SINGLE)]
    if len(singles) > MOST_NAMES:
        methods = [m for m in methods if m not in singles]
    rows = np.arange(len(methods))
    figure = Figure(figsize=(sheet.wide, 0.9 + 0.19 * len(methods)))
    height = figure.get_figheight()
    left, width, below = (0.43, 0.44, 0.58) if sheet.phone else (0.24, 0.58, 0.42)
    axes = figure.add_axes((left, below / height, width, 1 - (below + 0.3) / height))
    for row, method in zip(rows, methods, strict=True):
        _forest_row(axes, row, method, sheet)
    for row in rows[1:]:
        if methods[row]["name"].startswith(SINGLE) != methods[row - 1]["name"].startswith(SINGLE):
            axes.axhline(row - 0.5, color=PALE, linewidth=0.8)
    reference = next((100 * number(m["accuracy"]["value"]) for m in methods if m["name"] == REFERENCE), math.nan)
    if known(reference):
        axes.axvline(reference, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
        axes.annotate(REFERENCE, (reference, 1), (0, 2), **place)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_yticks(rows, [sheet.name(oracle_name(m), 34) for m in methods])
    for tick, method in zip(axes.get_yticklabels(), methods, strict=True):
        tick.set_fontweight("bold" if method["name"] in ("ENCORE", REFERENCE) else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(sheet.label("accuracy on held-out comparisons, %; 95 % interval over prompts"))
    _tag(figure, view)
    return figure


def _forest_row(axes: Axes, row: int, method: dict, sheet: Sheet) -> None:
    interval = method["accuracy"]
    color = BLUE if method["name"] == "ENCORE" else VERMILION if method["oracle"] else INK
    filled = method["name"] == "ENCORE"
    if known(interval["low"]) and known(interval["high"]):
        axes.hlines(row, 100 * interval["low"], 100 * interval["high"], color=color, linewidth=1.8 if filled else 1)
    if known(interval["value"]):
        marker = _MARKERS.get(method["sees"], "o")
        face = color if filled else "white"
        axes.plot(100 * interval["value"], row, marker, color=color, markerfacecolor=face, markersize=5.5, zorder=3)
    text = percent(interval["value"]) if sheet.phone else f"{percent(interval['value'])} {bounds(interval)}"
    axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)


def sensitivity(view: dict, sheet: Sheet = PAGE) -> Figure:
    """Accuracy by temperature and number of levels, the configured setting framed."""
    table, settings = view["sensitivity"], view["settings"]
    values = 100 * np.array([[number(accuracy) for accuracy in row] for row in table["accuracy"]])
    figure = Figure(figsize=(sheet.wide, 0.95 + 0.24 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    finite = values[np.isfinite(values)]
    middle, span = (finite.mean(), max(np.ptp(finite), 6.0)) if finite.size else (50.0, 6.0)
    low, high = middle - 0.75 * span, middle + 0.75 * span
    axes.pcolormesh(values, cmap="Blues", vmin=low, vmax=high, edgecolors="white", linewidth=1)
    for (row, column), value in np.ndenumerate(values):
        dark = known(value) and value > low + 0.62 * (high - low)
        text = fixed(value, 1)
        look = {"color": ON_DARK if dark else ON_LIGHT, "fontsize": 7.5 if sheet.phone else 8.5}
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", **look)
    cell = configured_cell(view)
    if cell:
        axes.add_patch(Rectangle(cell[::-1], 1, 1, fill=False, edgecolor=VERMILION, linewidth=2.2, zorder=4))
    axes.set_xticks(np.arange(len(table["tau"])) + 0.5, [f"{tau:g}" for tau in table["tau"]])
    axes.set_yticks(np.arange(len(table["levels"])) + 0.5, [f"{levels:g}" for levels in table["levels"]])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    beside = "" if cell else f" (configured: τ = {settings['tau']:g}, not in this grid)"
    axes.set_xlabel(sheet.label(f"temperature τ{beside}"))
    axes.set_ylabel("levels")
    axes.set_title(" ")
    _tag(figure, view)
    return figure


def configured_cell(view: dict) -> tuple[int, int] | None:
    """Row and column of the view's own setting in its sensitivity table, if it is there."""
    table, settings = view["sensitivity"], view["settings"]
    if settings["bins"] or settings["levels"] not in table["levels"] or settings["tau"] not in table["tau"]:
        return None
    return table["levels"].index(settings["levels"]), table["tau"].index(settings["tau"])


def histograms(view: dict, sheet: Sheet = PAGE) -> Figure:
    """How the ratings of each rule are spread: shares in eleven bins around 0, 0.1, …, 1."""
    rules = view["rules"]
    columns = 2 if sheet.phone else 5
    rows = math.ceil(len(rules) / columns)
    figure = Figure(figsize=(sheet.wide, 0.4 + 1.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, rule in zip(grid.flat, rules, strict=False):
        counts = np.array(rule["histogram"], float)
        shares = 100 * counts / max(counts.sum(), 1)
        axes.bar(
            np.arange(len(counts)) / (len(counts) - 1), shares, width=0.085, color=BARS, edgecolor=BLUE, linewidth=0.5
        )
        axes.set_title(f"{shortened(rule['name'], 22)}\nn = {rule['n']}, H = {fixed(rule['entropy'])}", fontsize=8)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        if not counts.sum():
            axes.text(0.5, 0.5, "no ratings", transform=axes.transAxes, ha="center", color=GREY)
    for axes in grid.flat[len(rules) :]:
        axes.set_visible(False)
    figure.supxlabel("rating, 1 is best", fontsize=8.5)
    figure.supylabel("share of ratings, %", fontsize=8.5)
    figure.suptitle(" ", fontsize=6)
    _tag(figure, view)
    return figure
