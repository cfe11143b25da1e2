"""Any two methods on the same comparisons: who wins which, how surely, and how many comparisons it would take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import numpy as np

from encore_jax.evaluation.bootstrap import cluster_sums
from encore_jax.evaluation.significance import (
    benjamini_hochberg,
    comparisons_needed,
    design_effect,
    holm,
    mcnemar,
    prompt_test,
)

ONE_POINT = 0.01


def against_reference(reference: int, credit: np.ndarray, cluster: np.ndarray, key: jax.Array) -> list[dict | None]:
    """Of every method what `_test` says against the reference; `None` for the reference itself.

    Args:
      reference: its column.
      credit: ``[N, M]`` of M methods, as from `encore_jax.composition.ties.credit`.
      cluster: int ``[N]``, the comparisons' prompts.
      key: of the prompts' sign flips.
    """
    others = [m for m in range(credit.shape[1]) if m != reference]
    found = dict(zip(others, _tests(credit[:, others] - credit[:, [reference]], cluster, key), strict=True))
    return [found.get(m) for m in range(credit.shape[1])]


def pairwise(names: Sequence[str], credit: np.ndarray, cluster: np.ndarray, key: jax.Array) -> list[dict]:
    """The same for every two methods: `first` against `second`, corrected for all these pairs together."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    first, second = (list(column) for column in zip(*pairs, strict=True))
    tests = _tests(credit[:, first] - credit[:, second], cluster, key)
    return [
        {"first": names[a], "second": names[b], "difference": float((credit[:, a] - credit[:, b]).mean())} | test
        for (a, b), test in zip(pairs, tests, strict=True)
    ]


def _tests(difference_NxM: np.ndarray, cluster: np.ndarray, key: jax.Array) -> list[dict]:
    """Plain values per column.

    better, worse: comparisons with more, or less credit. mcnemar_p: exact, as if comparisons were independent; `None`
    for an average over random weightings. prompt_p: by flipping whole prompts. holm_p, bh_p: prompt_p corrected for all
    columns. discordance: share of comparisons with unequal credit. design: effect of comparisons that share a prompt.
    needed: comparisons, of prompts such as these, that it takes to see one point; `None` where too few can differ.
    """
    _, group = np.unique(cluster, return_inverse=True)
    sums = cluster_sums(difference_NxM.astype(np.float32), group, int(group.max()) + 1)
    prompt_p = prompt_test(sums, key)
    corrected = zip(holm(prompt_p), benjamini_hochberg(prompt_p), strict=True)
    tests = []
    for column, p, (holm_p, bh_p) in zip(difference_NxM.T, prompt_p, corrected, strict=True):
        better, worse = int((column > 0).sum()), int((column < 0).sum())
        discordance, design = float((column**2).mean()), design_effect(column, group)
        needed = comparisons_needed(discordance, ONE_POINT, design=design)
        decided = np.isin(np.abs(column), (0.0, 0.5, 1.0)).all()  # not averaged over random weightings
        tests.append(
            {
                "better": better,
                "worse": worse,
                "mcnemar_p": mcnemar(better, worse).p if decided else None,
                "prompt_p": float(p),
                "holm_p": float(holm_p),
                "bh_p": float(bh_p),
                "discordance": discordance,
                "design": design,
                "needed": needed if math.isfinite(needed) else None,
            }
        )
    return tests
