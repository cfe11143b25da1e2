"""Results of RAMO: what each arm's labels are worth, and what each arm's reward models are worth.

Letters: N comparisons, S seeds, C cells (arm and r) or rows (arm, r and size).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from encore_jax.composition import preference_information
from encore_jax.composition.ties import credit
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals

ARM_WORDS = {
    "initial": "untouched initial reward model",
    "human": "people's labels",
    "all": "all rules",
    "entropy": "all rules, entropy weights (ENCORE)",
    "adapter_weights": "all rules, adapter weights",
    "random": "random rules",
    "fixed": "fixed rules, the most often critical",
    "oracle": "critical rules, from all ratings (oracle)",
    "adapter": "adapter's rules (RAMO)",
    "oracle+entropy": "oracle's rules, entropy weights",
    "adapter+entropy": "adapter's rules, entropy weights (ENCORE + RAMO)",
    "adapter+weights": "adapter's rules, adapter weights",
    "oracle+loading": "critical rules × loading, from all ratings (oracle)",
    "adapter+loading": "adapter's rules, weighed by loading",
}
"""What every arm labels by."""


def arm_name(arm: str, r: int, size: int) -> str:
    """What a row of reward models is called in one text.

    >>> arm_name("adapter", 2, 0), arm_name("all", 0, 100)
    ("adapter's rules (RAMO), r = 2", 'all rules, 100 comparisons')
    """
    parts = [ARM_WORDS[arm], f"r = {r}" if r else "", f"{size} comparisons" if size else ""]
    return ", ".join(filter(None, parts))


def interval(value: float, replicates: np.ndarray, level: float = 0.95) -> dict[str, float]:
    """Value and central 95 % of the replicates, or another share of them."""
    low, high = percentile_interval(replicates, level)
    return {"value": float(value), "low": float(low), "high": float(high)}


def label_results(
    labels: Mapping[str, np.ndarray], human: np.ndarray, cluster: np.ndarray, seed: int, replicates: int
) -> dict[str, dict]:
    """Of every cell's labels beside people's, over comparisons that both label.

    Args:
      labels: int ``[S, N]`` by cell: 0 or 1, -1 a tie, -2 nothing to label by.
      human: int ``[N]``, 0 or 1, -1 unlabelled.
      cluster: int ``[N]``, prompts.
      seed, replicates: of the bootstrap.

    Returns:
      By cell: n, agreement (a tie counts half) and mutual information in nats (bias-corrected, with intervals over
      prompts), ties (share), flips (share of decided labels that are not those of arm "all"; None without that arm).
    """
    groups = np.unique(cluster, return_inverse=True)[1]
    everything = labels.get("all.r0")
    found = {}
    for name, rows in labels.items():
        valid = (rows > -2) & (human >= 0)[None]
        counts = np.stack([rows == human, (rows == 1 - human) & (rows >= 0), rows == -1], -1) & valid[..., None]
        sums = cluster_sums(counts.mean(0), groups, int(groups.max()) + 1)
        totals = resampled_totals(sums, jax.random.key(seed), replicates)
        whole = np.asarray(sums).sum(0)
        flips = None
        if everything is not None:
            decided = (rows >= 0) & (everything >= 0)
            flips = float((rows != everything)[decided].mean()) if decided.any() else None
        found[name] = {
            "n": int(valid[0].sum()),
            "agreement": interval(*(_agreement(c) for c in (whole, np.asarray(totals)))),
            "information": interval(
                float(preference_information(whole)), np.asarray(preference_information(totals, corrections=2))
            ),
            "ties": float(whole[2] / max(whole.sum(), 1e-9)),
            "flips": flips,
        }
    return found


def _agreement(counts: np.ndarray) -> np.ndarray:
    return (counts[..., 0] + 0.5 * counts[..., 2]) / np.maximum(counts.sum(-1), 1e-9)


def arm_results(
    margins: Mapping[str, np.ndarray],
    rows: Sequence[tuple[str, int, int]],
    human: np.ndarray,
    cluster: np.ndarray,
    seed: int,
    replicates: int,
) -> list[dict]:
    """Accuracy of the reward models of every row on N held-out comparisons, paired over all rows.

    Args:
      margins: ``[S, N]`` by row (as "arm.rR.nSIZE"; "initial" has one), reward of A minus reward of B.
      rows: arm, r and size of each row but "initial", in order.
      human: int ``[N]``, 0 if people prefer A, else 1.
      cluster: int ``[N]``, prompts.
      seed, replicates: of the bootstrap.

    Returns:
      One dict per row, "initial" first: accuracy (mean over seeds, a tie counts half), its spread over seeds, and the
      differences from "initial" and from "all" at the same size, in shares, with intervals over prompts.
    """
    names = ["initial", *(f"{arm}.r{r}.n{size}" for arm, r, size in rows)]
    toward_human = np.where(human == 0, 1.0, -1.0)
    each = {name: credit(np.asarray(margins[name]) * toward_human[None]) for name in names}
    counted = np.stack([each[name].mean(0) for name in names] + [np.ones(len(human))], -1)
    groups = np.unique(cluster, return_inverse=True)[1]
    totals = np.asarray(
        resampled_totals(cluster_sums(counted, groups, int(groups.max()) + 1), jax.random.key(seed), replicates)
    )
    samples = dict(zip(names, (totals[:, :-1] / totals[:, -1:]).T, strict=True))
    value = {name: float(each[name].mean()) for name in names}

    def beside(name: str, other: str) -> dict | None:
        if other not in value or other == name:
            return None
        return interval(value[name] - value[other], samples[name] - samples[other])

    found = []
    for name, (arm, r, size) in zip(names, (("initial", 0, 0), *rows), strict=True):
        found.append(
            {
                "arm": arm,
                "words": ARM_WORDS[arm],
                "r": r,
                "size": size,
                "seeds": len(each[name]),
                "n": len(human),
                "accuracy": interval(value[name], samples[name]),
                "seed_sd": float(each[name].mean(1).std(ddof=1)) if len(each[name]) > 1 else None,
                "minus_initial": beside(name, "initial"),
                "minus_all": None if arm == "initial" else beside(name, f"all.r0.n{size}"),
            }
        )
    return found


def interval_of_means(
    values: np.ndarray, cluster: np.ndarray, seed: int, replicates: int, level: float = 0.95
) -> dict[str, float]:
    """Mean of values ``[N]`` with its interval over clusters; NaN values are left out."""
    known = np.isfinite(values)
    if not known.any():
        return {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    values, groups = values[known], np.unique(cluster[known], return_inverse=True)[1]
    sums = cluster_sums(np.stack([values, np.ones(len(values))], 1), groups, int(groups.max()) + 1)
    totals = np.asarray(resampled_totals(sums, jax.random.key(seed), replicates))
    return interval(values.mean(), totals[:, 0] / totals[:, 1], level)
