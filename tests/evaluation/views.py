"""A small view with everything in it: ties, masks, two subsets, prompts of several comparisons."""

from __future__ import annotations

import numpy as np

from encore_jax.evaluation.view import Pairs, View

RULES = ("alpha", "beta", "gamma", "delta")


def pairs(n: int, seed: int, rules: int = len(RULES)) -> Pairs:
    """Rule 0 is good, each further one worse; scores lie on quarters, so that ties are exact."""
    rng = np.random.default_rng(seed)
    preferred = rng.integers(0, 2, n)
    scores = rng.integers(0, 5, (n, 2, rules)).astype(np.float32)
    scores[np.arange(n), preferred] += np.linspace(2, 0, rules).round().astype(np.float32)
    return Pairs(
        scores=np.clip(scores, 0, 4) / 4,
        preferred=preferred,
        cluster=rng.integers(0, max(1, n // 3), n).astype(np.int32) * 2,  # with gaps in the numbering
        subset=np.where(rng.random(n) < 0.3, "rude", "violent"),
    )


def view(seed: int = 0, rules: int = len(RULES), train: int = 60, test: int = 80, **changes) -> View:
    """A view on noisy ratings, the first rule's least noisy."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 200)[:, None] * np.ones((1, rules))
    guess = rng.random((200, rules)) < np.linspace(0.1, 0.9, rules)
    ratings = np.where(guess, rng.integers(0, 5, (200, rules)) / 4, truth).astype(np.float32)
    rated = rng.random(ratings.shape) < 0.8
    values = dict(
        name="heads",
        label="human-rated",
        description="Made for tests.",
        rules=RULES[:rules],
        ratings=np.where(rated, ratings, 0),
        rated=rated,
        rating_cluster=rng.integers(0, 50, 200).astype(np.int32),
        train=pairs(train, seed + 1, rules),
        test=pairs(test, seed + 2, rules),
        heuristics={"shorter": rng.integers(-9, 0, (test, 2)).astype(np.float32)},
    )
    return View(**(values | changes))
