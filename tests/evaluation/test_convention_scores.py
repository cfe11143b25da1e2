"""Scores of responses in turn, sorted by comparison: what was dropped moves no other comparison's scores."""

import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.evaluation.benchmark_rules import benchmark_advice, method_rows
from encore_jax.evaluation.convention_scores import ConventionScores

RULES = ("a", "b", "c")


def items(n: int, dropped: tuple[int, ...] = (), seed: int = 0):
    """Comparisons of which some are too long, their scores, and how many of the others the mean score gets right."""
    rng = np.random.default_rng(seed)
    comparisons = [Comparison((Message("user", f"{i}?"),), ("yes", "no"), i % 2, id=str(i)) for i in range(n)]
    scores = rng.normal(size=(2 * n, 3)).astype(np.float32)
    for i in range(n):  # the preferred response is usually the better one
        scores[2 * i + i % 2] += 0.5
    for i in dropped:
        scores[2 * i] = np.nan
    rewards = scores.mean(1)
    notes = [("dropped as too long: 9 tokens",) if np.isnan(one) else () for one in rewards]
    scored = ConventionScores(scores, rewards, np.zeros(2 * n, np.float32), notes, "float32")
    kept = [i for i in range(n) if i not in dropped]
    right = np.mean([rewards[2 * i + i % 2] > rewards[2 * i + 1 - i % 2] for i in kept])
    return comparisons, scored, right


@pytest.mark.parametrize("dropped", [(), (0,), (3, 4, 17), (39,)])
def test_methods_are_judged_on_the_very_comparisons_that_were_scored(dropped):
    comparisons, scored, right = items(40, dropped)
    rows = {row["name"]: row for row in method_rows("pairs", comparisons, scored, RULES, replicates=100)}
    assert rows["the model"]["accuracy"]["value"] == pytest.approx(right)
    assert rows["uniform"]["accuracy"]["value"] == pytest.approx(right)


def test_comparisons_to_label_next_are_named_and_none_of_them_was_dropped():
    comparisons, scored, _ = items(60, dropped=(0, 1, 2))
    told = benchmark_advice(comparisons, scored, RULES, seed=0)
    assert set(told["label_next"]) <= {c.id for c in comparisons[3:]}


def test_a_comparison_has_no_rewards_if_one_response_was_dropped_and_a_note_says_why():
    comparisons, scored, _ = items(3, dropped=(1,))
    rewards, notes = scored.by_comparison(comparisons)
    assert [one is None for one in rewards] == [False, True, False]
    np.testing.assert_array_equal(rewards[2], scored.rewards[4:])
    assert notes == [[], ["response 1: dropped as too long: 9 tokens"], []]


def test_scores_are_read_as_they_were_written(tmp_path):
    _, scored, _ = items(5, dropped=(2,))
    scored.save(tmp_path / "scores.npz")
    again = ConventionScores.load(tmp_path / "scores.npz")
    for name in ("scores", "rewards", "tolerances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scored, name))
    assert [tuple(of) for of in again.notes] == scored.notes and again.dtype == "float32"
