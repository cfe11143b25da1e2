"""What an ablation found, as plain values: which choices matter, and the mean accuracy of every value of a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from encore_jax.evaluation.ablation_anova import MarginalSums
from encore_jax.evaluation.ablation_grid import Grid
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.first_line import first_line
from encore_jax.formats import bounds, percent, points

REPLICATE, SUBSET, TAU = "replicate", "subset", "tau"
MOST_SHOWN = 40
"""Axes with more values than this are summed up, not listed."""
HEAT_MAPS = 4
MOST_ROWS = 8
"""Of the terminal's table of choices; the page has all."""


def ablation_results(grid: Grid, sums: MarginalSums, subset: np.ndarray, rules: Sequence[str]) -> dict:
    """The decomposition and the marginal means, ready for JSON; accuracies count ties half.

    Intervals (95 %) are over the bootstrap replicates of the axis "replicate", `None` without any. An accuracy is that
    on the comparisons themselves, averaged over all other choices; every combination occurs once, so differences of
    such means are paired.

    Args:
      grid, sums: of all settings.
      subset: bool ``[M, K]``, the rules of each value of the axis "subset".
      rules: K names.
    """
    effects = sums.effects()
    varied = [axis for axis in grid.axes if len(axis) > 1]
    listed = [axis for axis in varied if len(axis) <= MOST_SHOWN and axis.name not in (REPLICATE, SUBSET)]
    means = {axis.name: _by_replicate(sums, axis.name) for axis in varied if axis.name != REPLICATE}
    main = [
        {"choice": name, "share": effects.main[name], "values": len(grid.axes[grid.names.index(name)])}
        | _spread(means.get(name))
        for name in (axis.name for axis in varied)
    ]
    pairs = [
        {"choice": f"{a} x {b}", "share": share}
        for (a, b), share in effects.pairs.items()
        if {a, b} <= {axis.name for axis in varied}
    ]
    return {
        "mean": effects.mean,
        "sd": math.sqrt(effects.variance),
        "main": sorted(main, key=lambda row: -row["share"]),
        "pairs": sorted(pairs, key=lambda row: -row["share"]),
        "rest": effects.rest,
        "untold": [f"{a} x {b}" for a, b in effects.untold],
        "fixed": {axis.name: value_text(axis.values[0]) for axis in grid.axes if len(axis) == 1},
        "marginals": {axis.name: _rows(axis.values, means[axis.name], sums, axis.name) for axis in listed},
        "sizes": _sizes(means.get(SUBSET), subset),
        "rules": _inclusion(means.get(SUBSET), subset, rules),
        "heat_maps": _heat_maps(sums, effects.pairs, {axis.name: axis.values for axis in listed}),
    }


def _by_replicate(sums: MarginalSums, name: str) -> np.ndarray:
    """Mean accuracy ``[V, R]`` of each value in each replicate; ``[V, 1]`` where those are too many to keep."""
    table = sums.table(name, REPLICATE)
    return sums.marginal(name)[0][:, None] if table is None else table


def _interval(samples: np.ndarray) -> dict:
    """Value (the data themselves) and interval (the other replicates) of ``[R]``."""
    low, high = (map(float, percentile_interval(samples[1:]))) if samples.size > 2 else (None, None)
    return {"value": float(samples[0]), "low": low, "high": high}


def _spread(mean: np.ndarray | None) -> dict:
    """How far the best value of a choice lies above the worst, on average over all other choices."""
    if mean is None:
        return {"range": None}
    best, worst = int(mean[:, 0].argmax()), int(mean[:, 0].argmin())
    return {"range": _interval(mean[best] - mean[worst])}


def _rows(values: Sequence, mean: np.ndarray, sums: MarginalSums, name: str) -> list[dict]:
    spread = sums.marginal(name)[1]
    return [
        {"value": value_text(value), "sd": float(sd), "accuracy": _interval(samples)}
        for value, samples, sd in zip(values, mean, spread, strict=True)
    ]


def _sizes(mean: np.ndarray | None, subset: np.ndarray) -> list[dict]:
    """Accuracy by the number of rules that take part."""
    if mean is None:
        return []
    size = subset.sum(1)
    return [
        {"size": int(n), "subsets": int((size == n).sum()), "accuracy": _interval(mean[size == n].mean(0))}
        | {"sd": float(mean[size == n, 0].std())}
        for n in np.unique(size)
    ]


def _inclusion(mean: np.ndarray | None, subset: np.ndarray, rules: Sequence[str]) -> list[dict]:
    """Of each rule: mean accuracy of the subsets with it, minus that of the subsets without."""
    if mean is None:
        return []
    found = []
    for k, name in enumerate(rules):
        inside = subset[:, k]
        if inside.all() or not inside.any():
            continue
        found.append({"name": name, "effect": _interval(mean[inside].mean(0) - mean[~inside].mean(0))})
    return sorted(found, key=lambda row: -row["effect"]["value"])


def _heat_maps(sums: MarginalSums, pairs: dict, values: dict) -> list[dict]:
    """Mean accuracy at each pair of values, for the pairs of axes that interact most."""
    shown = [pair for pair in sorted(pairs, key=lambda pair: -pairs[pair]) if set(pair) <= values.keys()]
    return [
        {
            "axes": [a, b],
            "values": [list(map(value_text, values[a])), list(map(value_text, values[b]))],
            "accuracy": sums.table(a, b).tolist(),
        }
        for a, b in shown[:HEAT_MAPS]
    ]


def with_full_set(found: dict, full: dict) -> dict:
    """The same with marginal means and the heat map of grid and tau of the full rule set, and ENCORE's gain by tau.

    Averaged over all subsets of the rules, they would say little about the weights that anybody uses.

    Args:
      found: as `ablation_results` gives it.
      full: as `encore_jax.evaluation.ablation_choice.full_set_choice` does.
    """
    pair = full["heat_map"]
    others = [one for one in found["heat_maps"] if pair is None or set(one["axes"]) != set(pair["axes"])]
    rows = [row for row in full["marginals"].get(TAU, ()) if row["value"] != value_text(math.inf)]
    return found | {
        "marginals": found["marginals"] | full["marginals"],
        "gain": [{"tau": row["value"], "gain": row["minus_uniform"]} for row in rows],
        "heat_maps": [pair] * (pair is not None) + others[: HEAT_MAPS - 1],
    }


def choices_text(results: dict) -> str:
    """What to use and which choices matter, as plain text (Markdown) that fits a screen."""
    found = results["found"]
    lines = [
        first_line(results),
        "",
        f"{results['settings']} settings x {results['comparisons']} comparisons, view {results['view']} "
        f"({results['label']}): accuracy {percent(found['mean'])} % on average, sd {percent(found['sd'])}",
    ]
    if found["gain"]:
        lines += ["", "All rules, averaged over grids and other choices:", ""]
        lines += ["| tau | minus equal weights, points |", "|---:|---:|"]
        lines += [f"| {row['tau']} | {_with_bounds(row['gain'])} |" for row in found["gain"]]
    rows = sorted(found["main"] + found["pairs"], key=lambda row: -row["share"])
    lines += ["", "All settings, subsets of the rules among them:", ""]
    lines += ["| choice | share of variance, % | range, points |", "|---|---:|---:|"]
    for row in rows[:MOST_ROWS]:
        spread = row.get("range")
        lines.append(f"| {row['choice']} | {percent(row['share'])} | {_with_bounds(spread) if spread else ''} |")
    rest = found["rest"] + sum(row["share"] for row in rows[MOST_ROWS:])
    lines.append(f"| {'all others' if rows[MOST_ROWS:] else 'three and more'} | {percent(rest)} | |")
    return "\n".join(lines)


def _with_bounds(interval: dict) -> str:
    shown = points(interval["value"])
    return f"{shown} {bounds(interval, points)}" if interval["low"] is not None else shown


def value_text(value: object) -> str:
    """A value as in tables: infinity is the sign for it.

    >>> value_text(math.inf), value_text(0.5), value_text("11 levels")
    ('∞', '0.5', '11 levels')
    """
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:.4g}"
    return str(value)
