"""What a benchmark run says of its model's rules: which weighting to use, and whether the model only wants refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from encore_jax.composition import Margin
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.probes import over_refusal_probe
from encore_jax.evaluate.advice import advice
from encore_jax.evaluate.over_refusal import over_refusal
from experiments.benchmark_config import BenchmarkConfig


def probe_results(config: BenchmarkConfig, scored: Path) -> dict:
    """The over-refusal probe under the model's own weights, and rule by rule."""
    if not (scored / "scores-probe.npz").is_file():
        return {"not_scored": "this run's scores are of an older version: --rerun=score scores the probe"}
    probe = over_refusal_probe()
    with np.load(scored / "scores-probe.npz") as stored:
        scores, rewards, slack = (stored[name] for name in ("scores", "rewards", "tolerances"))
    rows = np.array([(2 * i + c.preferred, 2 * i + 1 - c.preferred) for i, c in enumerate(probe)])
    rewards, slack = np.nan_to_num(rewards)[rows], np.nan_to_num(slack)[rows]
    margin = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    rules = json.loads((scored / "passport.json").read_text())["rules"]
    named = rules if len(rules) > 1 else ()
    return over_refusal(probe, scores[rows], named, {"the model": margin}, "the model", config.seed)


def benchmark_advice(config: BenchmarkConfig, comparisons: list[Comparison], scored: Path) -> dict:
    """Which weighting to use on these data, by the scores of the comparisons whose responses were all scored."""
    with np.load(scored / "scores-ours.npz") as stored:
        flat = stored["scores"]
    groups = np.split(flat, np.cumsum([len(c.responses) for c in comparisons])[:-1])
    kept = [(c, group) for c, group in zip(comparisons, groups, strict=True) if np.isfinite(group).all()]
    rules = json.loads((scored / "passport.json").read_text())["rules"]
    told = advice(
        [group for _, group in kept], [c.preferred for c, _ in kept], [prompt_key(c.prompt) for c, _ in kept], rules,
        seed=config.seed,
    )  # fmt: skip
    return told | {"label_next": [kept[i][0].id or str(i) for i in told["label_next"]]}
