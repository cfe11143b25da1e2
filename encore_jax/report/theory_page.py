"""The theory's report: claims with their verdicts, the phase diagram and real ratings, as page and as text."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from matplotlib.figure import Figure

from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.theory_junk import METHODS, NOISES, RULES, SHARED, SHARES
from encore_jax.formats import fixed, printable, shortened
from encore_jax.report.page import render
from encore_jax.report.sheet import PAGE, Sheet
from encore_jax.report.svg import BLUE, GREY, ON_DARK, ON_LIGHT, SIMULATED, VERMILION, drawn


def render_theory(results: dict) -> str:
    """The page, the same text for the same results."""
    title = "Gain of ENCORE by noise and base rate"
    figures: dict = {"phase": drawn(functools.partial(phase, results["phase"]), "phase", title)}
    figures["views"] = [
        drawn(functools.partial(scatter, view), f"weights-{i}", f"Entropy and trained weight, view {view['view']}")
        for i, view in enumerate(results["views"])
    ]
    head, rows = junk_table(results["junk"])
    values = {"results": results, "figures": figures, "junk_head": head, "junk_rows": rows, "junk_methods": METHODS}
    return render("theory.html", **values)


def theory_text(results: dict) -> str:
    """Claims and verdicts as a plain-text (Markdown) table."""
    lines = [first_line(results), "", "| claim | verdict | rows met |", "|---|---|---:|"]
    for claim in results["claims"]:
        lines.append(f"| {claim['title']} | {claim['verdict']} | {claim['met']} of {len(claim['rows'])} |")
    for view in results["views"]:
        r = fixed(view["r"], sign=True)
        of_view = f"view {printable(view['view'])} ({view['label']}), r = {r}"
        title = f"Trained Bradley-Terry weights fall with entropy: {of_view}"
        lines.append(f"| {title} | {view['verdict']} | |")
    head, rows = junk_table(results["junk"])
    lines += ["", f"Who wins ({', '.join(METHODS)}; accuracy in %, {RULES} rules):", ""]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    lines += ["", "The claims are checked on simulated judges and margins, not on any real judge."]
    return "\n".join(lines)


def phase(cells: list[dict], sheet: Sheet = PAGE) -> Figure:
    """Measured gain in points, a panel per kind of noise and share of common errors."""
    panels = list(dict.fromkeys((cell["noise"], cell["shared"]) for cell in cells))
    columns = 1 if sheet.phone else 3
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(sheet.wide, 0.3 + 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    span = 100 * max(abs(cell["measured"]) for cell in cells)
    for axes, (noise, shared) in zip(grid.flat, panels, strict=False):
        inside = [cell for cell in cells if (cell["noise"], cell["shared"]) == (noise, shared)]
        worst, rates = (sorted({cell[name] for cell in inside}) for name in ("worst", "base_rate"))
        gain = np.array(
            [
                [next(c["measured"] for c in inside if c["worst"] == w and c["base_rate"] == b) for w in worst]
                for b in rates
            ]
        )
        axes.pcolormesh(100 * gain, cmap="RdBu", vmin=-span, vmax=span, edgecolors="white", linewidth=1)
        for (row, column), value in np.ndenumerate(100 * gain):
            color = ON_DARK if abs(value) > 0.6 * span else ON_LIGHT
            axes.text(
                column + 0.5, row + 0.5, fixed(value, 1, sign=True), ha="center", va="center", fontsize=7, color=color
            )
        axes.set_xticks(np.arange(len(worst)) + 0.5, [f"{w:g}" for w in worst])
        axes.set_yticks(np.arange(len(rates)) + 0.5, [f"{100 * b:g}" for b in rates])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(noise if noise == "gaussian" else f"{noise}, shared {shared:g}")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("worst judge's noise level λ", fontsize=8.5)
    figure.supylabel("good responses, %", fontsize=8.5)
    figure.suptitle(" ", fontsize=6)
    figure.text(0.995, 0.995, SIMULATED, ha="right", va="top", fontsize=7, fontweight="bold", color=VERMILION)
    return figure


def scatter(view: dict, sheet: Sheet = PAGE) -> Figure:
    """Entropy against trained weight with its interval."""
    figure = Figure(figsize=(sheet.half, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for rule in view["rules"]:
        weight = rule["weight"]
        axes.vlines(rule["entropy"], weight["low"], weight["high"], color=GREY, linewidth=0.9)
        axes.plot(rule["entropy"], weight["value"], "o", color=BLUE, markersize=5)
        if len(view["rules"]) <= 12:
            place = {"textcoords": "offset points", "fontsize": 7}
            axes.annotate(shortened(rule["name"], 18), (rule["entropy"], weight["value"]), (4, 3), **place)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_xlabel("entropy of the ratings, nats")
    axes.set_ylabel("trained weight per sd of the margin")
    axes.set_title(" ", fontsize=6)
    made_up = view["label"] == "semi-synthetic"
    figure.text(
        0.995, 0.995, SIMULATED if made_up else view["label"], ha="right", va="top", fontsize=7,
        color=VERMILION if made_up else GREY,
    )  # fmt: skip
    return figure


def junk_table(cells: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: who wins in every cell, and the accuracies in %, in the order of `METHODS`."""
    head = ["junk rules, %", "noise of the others", *(f"shared nuisance {shared:g}" for shared in SHARED)]
    rows = []
    for share, noise in itertools.product(SHARES, NOISES):
        row = [f"{100 * share:g}", f"{noise:g}"]
        for shared in SHARED:
            cell = next(c for c in cells if (c["junk"], c["noise"], c["shared"]) == (share, noise, shared))
            values = "/".join("refused" if a is None else f"{100 * a:.0f}" for a in cell["accuracy"].values())
            row.append(f"{cell['winner']} ({values})")
        rows.append(row)
    return head, rows
