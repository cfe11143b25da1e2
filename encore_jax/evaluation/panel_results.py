"""A panel's reliability as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from encore_jax.evaluation.panel import PanelReliability
from encore_jax.evaluation.panel_advice import left_out, panel_recommendation
from encore_jax.evaluation.panel_twins import twin_words
from encore_jax.evaluation.panel_variance import OneWay


def panel_results(found: PanelReliability) -> dict:
    """All of it as JSON values; NaN as None."""
    common = found.columns.common
    names = [line.judge for line in found.judges]

    def place(column: int) -> list[str]:
        return [names[column // len(found.rules)], found.rules[column % len(found.rules)]]

    return _plain(
        {
            "recommendation": panel_recommendation(found),
            "left_out": left_out(found),
            "weighting": found.columns.recommended,
            "verdict": common.verdict,
            "split": found.split,
            "factors": common.factors,
            "camps": [[place(column) for column in camp] for camp in common.camps],
            "between_camps": common.between,
            "of_draws": found.of_draws,
            "twins": [twin_words(*pair) for pair in found.twins],
            "correlation": _interval(found.between.correlation, found.between.low, found.between.high),
            "effective": _interval(found.between.effective, found.between.effective_low, found.between.effective_high),
            "judges": [
                {
                    "judge": line.judge,
                    "pairs": line.n,
                    "missing": line.missing,
                    "loading": line.loading,
                    "own_loading": line.own_loading,
                    "follows": line.follows,
                    "rest": _interval(line.rest, line.rest_low, line.rest_high),
                    "spread": line.spread,
                    "way": int(way),
                    "labels": line.labels,
                    "accuracy": _interval(line.accuracy, line.low, line.high),
                    "alone": _interval(line.alone, line.alone_low, line.alone_high),
                    "kept": line.kept,
                    "without": _interval(line.without, line.without_low, line.without_high),
                }
                for line, way in zip(found.judges, found.ways.judges, strict=True)
            ],
            "rules": [
                {
                    "rule": line.rule,
                    "loading": line.loading,
                    "correlation": _interval(line.correlation, line.low, line.high),
                    "reliability": line.reliability,
                    "way": int(way),
                }
                for line, way in zip(found.between.rules, found.ways.rules, strict=True)
            ],
            "loadings": [
                [_interval(*cell) for cell in zip(*rows, strict=True)]
                for rows in zip(found.loading.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
            ],
            "weights": {
                name: weights.reshape(found.loading.shape).tolist() for name, weights in found.columns.weights.items()
            },
            "accuracy": found.columns.accuracy,
            "better_than_uniform": found.columns.better_than_uniform,
            "repetitions": [
                {
                    "judge": line.judge,
                    "draws": line.draws,
                    "share": line.share,
                    "rules": [
                        {"rule": rule, **dict(zip(OneWay._fields, part, strict=True))}
                        for rule, part in zip(found.rules, line.rules, strict=True)
                    ],
                }
                for line in found.repetitions
            ],
            "positions": [line._asdict() for line in found.positions],
            "label_next": found.columns.label_next.tolist(),
            "prompts": found.columns.prompts,
        }
    )


def _interval(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high}


def _plain(value):
    """NaN as None, tuples as lists."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
