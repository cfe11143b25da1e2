"""A reward model trained on preferences against people on held-out ones, beside what reads no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from encore_jax.composition import Margin
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.formats import bounds, count, percent
from encore_jax.evaluation.premise import Interval, bootstrap_accuracy
from encore_jax.evaluation.svg import BLUE, GREY, VERMILION, WIDE, style, to_svg
from encore_jax.evaluation.view import Pairs


def preference_results(
    rewards: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    subset: Sequence[str],
    seed: int,
    replicates: int,
) -> dict:
    """Accuracy of every method on the same N comparisons, with paired intervals over prompts.

    Args:
      rewards: fp32 ``[N, 2]`` by method, the preferred response first; the first method is the model.
      cluster: ``[N]``, equal for equal prompts.
      subset: ``[N]``.
      seed, replicates: of the bootstrap.

    Returns:
      Plain values: comparisons, prompts; per method n, correct, ties, accuracy (a tie counts half) with its 95 %
      interval, and how far the first method is ahead, with its interval.
    """
    names = list(rewards)
    scores = np.stack([np.asarray(rewards[name], np.float32) for name in names], -1)
    pairs = Pairs(scores, np.zeros(len(scores), np.int64), np.asarray(cluster), np.asarray(subset))
    samples = np.asarray(bootstrap_accuracy(pairs, jax.random.key(seed), replicates))
    margin = Margin(scores[:, 0] - scores[:, 1])
    credit, won, tied = margin.credit, margin.sign > 0, margin.tied
    parts = {str(part): pairs.subset == part for part in np.unique(pairs.subset)}
    methods = []
    for k, name in enumerate(names):
        ahead = samples[:, 0] - samples[:, k]
        methods.append(
            {
                "name": name,
                "n": len(scores),
                "correct": int(won[:, k].sum()),
                "ties": int(tied[:, k].sum()),
                "accuracy": _interval(credit[:, k].mean(), samples[:, k]),
                "model_ahead_by": _interval(credit[:, 0].mean() - credit[:, k].mean(), ahead),
                "subsets": {
                    part: {"n": int(rows.sum()), "accuracy": float(credit[rows, k].mean())}
                    for part, rows in parts.items()
                },
            }
        )
    return {"comparisons": len(scores), "prompts": len(np.unique(cluster)), "methods": methods}


def _interval(value: float, samples: np.ndarray) -> dict[str, float]:
    low, high = percentile_interval(samples)
    return Interval(float(value), float(low), float(high))._asdict()


def preference_table(held_out: Mapping) -> str:
    """The methods as a plain-text (Markdown) table.

    >>> one = {"name": "model", "n": 4, "correct": 3, "ties": 0, "accuracy": {"value": 0.75, "low": 0.5, "high": 1.0},
    ...        "model_ahead_by": {"value": 0.0, "low": 0.0, "high": 0.0}}
    >>> print(preference_table({"methods": [one]}))
    | method | accuracy, % [95 %] | ties | n |
    |---|---|---|---|
    | model | 75.0 [50.0, 100.0] | 0 | 4 |
    """
    lines = ["| method | accuracy, % [95 %] | ties | n |", "|---|---|---|---|"]
    for method in held_out["methods"]:
        accuracy = method["accuracy"]
        shown = f"{percent(accuracy['value'])} {bounds(accuracy)}"
        lines.append(f"| {method['name']} | {shown} | {count(method['ties'])} | {count(method['n'])} |")
    return "\n".join(lines)


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
