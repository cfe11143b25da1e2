"""Figures of reliability: loadings of the rules, and how often each is right."""

from __future__ import annotations

import functools

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from encore_jax.evaluation.reliability import Reliability
from encore_jax.evaluation.rule_reliability import RuleReliability
from encore_jax.formats import fixed
from encore_jax.report.figures import MOST_NAMES
from encore_jax.report.interval_figures import Row, draw_intervals, height, intervals
from encore_jax.report.point_labels import place_labels
from encore_jax.report.reliability_tables import has_labels
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREY, drawn

LOADING = "loading, with 95 % interval over prompts"
ACCURACY = "agrees with people, % (95 % interval)"
LOADINGS = (-1.03, 1.03)
"""The axis of loadings, which are correlations."""


def reliability_figures(found: Reliability) -> list[Markup]:
    """The page's figures as SVG."""
    figures = [drawn(functools.partial(loadings, found), "loadings", "Loading of every rule")]
    if found.foretells:
        title = "Entropy, loading and accuracy of every rule"
        figures.append(drawn(functools.partial(scatters, found), "accuracy", title))
    return figures


def by_loading(found: Reliability) -> list[RuleReliability]:
    """The rules whose loading is known, the strongest first."""
    known = [line for line in found.rules if np.isfinite(line.loading)]
    return sorted(known, key=lambda line: -line.loading)


def loading_rows(rules: list[RuleReliability]) -> list[Row]:
    """Name, loading, low, high."""
    return [(line.rule, line.loading, line.loading_low, line.loading_high) for line in rules]


def loadings(found: Reliability, sheet: Sheet = PAGE) -> Figure:
    """Loading of every rule with its interval, the strongest first."""
    return intervals(loading_rows(by_loading(found)), LOADING, middle=0.0, limits=LOADINGS, sheet=sheet)


def overview(found: Reliability) -> Figure:
    """Loadings; beside them, where there are labels, how often each rule agrees with people."""
    rules = by_loading(found)
    if not has_labels(found):
        return loadings(found)
    figure = Figure(figsize=(PAGE.wide, height(len(rules))), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_intervals(left, loading_rows(rules), LOADING, middle=0.0, limits=LOADINGS)
    right_rows = [(line.rule, 100 * line.accuracy, 100 * line.low, 100 * line.high) for line in rules]
    draw_intervals(right, right_rows, ACCURACY, middle=50.0, names=False)
    return figure


def scatters(found: Reliability, sheet: Sheet = PAGE) -> Figure:
    """Entropy, and beside it loading, against accuracy as counted (ties half); a few dots have their rules' names."""
    figure = Figure(figsize=(sheet.wide, 5.6 if sheet.phone else 3.0), layout="constrained")
    panels = []
    grid = (2, 1) if sheet.phone else (1, 2)
    for axes, what, label in zip(
        figure.subplots(*grid), ("entropy", "loading"), ("entropy, nats", "loading"), strict=True
    ):
        points = np.array([(getattr(line, what), 100 * line.half) for line in found.rules])
        axes.axhline(50, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.plot(points[:, 0], points[:, 1], "o", color=BLUE, markersize=4.5)
        axes.set_xlabel(label)
        axes.set_title(f"r = {fixed(found.foretells[what], sign=True)}")
        axes.set_ylabel("accuracy, ties half, %")
        panels.append((axes, points))
    figure.draw_without_rendering()  # places depend on the final layout
    figure.set_layout_engine("none")
    for axes, points in panels:
        known = np.isfinite(points).all(1)
        names = [sheet.name(line.rule, 24) for line, told in zip(found.rules, known, strict=True) if told]
        if len(names) <= MOST_NAMES:
            values = points[known]
            chance = np.stack([np.linspace(*axes.get_xlim(), 40), np.full(40, 50.0)], 1)
            place_labels(axes, names, values[:, 0], np.repeat(values[:, 1:], 3, 1), chance)
    return figure
