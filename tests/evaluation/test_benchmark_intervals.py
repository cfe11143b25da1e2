"""Intervals of benchmark scores against the normal approximation, and what a leaderboard's files say."""

import json
import math

import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.benchmark import KINDS, benchmark_scores, judge_items, official_files, right_responses
from encore_jax.evaluation.rewardbench2 import TIES


def comparison(i, subset, responses=2, preferred=0, **extra):
    texts = tuple(f"response {r} to {i}" for r in range(responses))
    return Comparison((Message("user", f"prompt {i}"),), texts, preferred, subset=subset, id=str(i), extra=extra)


def pairs(sizes, seed=0):
    """Comparisons by subset, of which about 70 % are right, 10 % tie."""
    rng = np.random.default_rng(seed)
    made = [comparison(i, name) for i, name in enumerate(name for name, n in sizes.items() for _ in range(n))]
    return made, [np.array([rng.choice([2.0, 1.0, 0.0], p=[0.7, 0.1, 0.2]), 1.0]) for _ in made]


def test_an_interval_is_as_wide_as_the_normal_approximation_says():
    sizes = {"b": 900, "a": 100}
    made, rewards = pairs(sizes)
    found = benchmark_scores("pairs", made, rewards, replicates=4000)
    right = np.array([r[0] > r[1] for r in rewards])
    subset = np.array([c.subset for c in made])
    shares, variances = {}, {}
    for name, n in sizes.items():
        p = shares[name] = right[subset == name].mean()
        variances[name] = p * (1 - p) / n
        said = found["subsets"][name]
        assert (said["n"], said["correct"]) == (n, right[subset == name].sum())
        assert said["ties"] == sum(r[0] == r[1] for r, s in zip(rewards, subset, strict=True) if s == name)
        assert said["score"] == pytest.approx(p)
        wide = 1.96 * math.sqrt(variances[name])
        assert said["low"] == pytest.approx(p - wide, abs=0.15 * wide + 0.5 / n)
        assert said["high"] == pytest.approx(p + wide, abs=0.15 * wide + 0.5 / n)
    whole = found["scores"]["all"]
    assert whole["score"] == pytest.approx(right.mean()) and found["n"] == 1000
    wide = 1.96 * math.sqrt(sum((sizes[name] / 1000) ** 2 * variances[name] for name in sizes))
    assert whole["high"] - whole["low"] == pytest.approx(2 * wide, rel=0.1)
    assert found["ties"] == sum(s["ties"] for s in found["subsets"].values()) and found["incomplete"] == []


def test_seeds_and_replicates_reach_the_intervals():
    made, rewards = pairs({"a": 40, "b": 60})
    first, again, other, more = (
        benchmark_scores("pairs", made, rewards, replicates=n, seed=seed)["scores"]["all"]
        for n, seed in ((50, 0), (50, 0), (50, 1), (51, 0))
    )
    assert first == again and first != other and first != more and first["score"] == other["score"]


def test_style_intervals_of_rm_bench_lie_around_their_scores():
    rng = np.random.default_rng(1)
    made = [comparison(i, name, 6) for i, name in enumerate(["chat"] * 80 + ["math"] * 40)]
    rewards = [rng.normal(size=6) + [1.0, 0.8, 0.6, 0, 0, 0] for _ in made]
    scores = benchmark_scores("rm_bench", made, rewards, replicates=2000)["scores"]
    won = np.array([np.subtract.outer(r[:3], r[3:]) > 0 for r in rewards])
    parts = {"easy": [(1, 0), (2, 0), (2, 1)], "normal": [(0, 0), (1, 1), (2, 2)], "hard": [(0, 1), (0, 2), (1, 2)]}
    for name, rows in (("chat", won[:80]), ("math", won[80:])):
        said = scores[name]
        for part, cells in parts.items():
            each = np.mean([rows[:, i, j] for i, j in cells], axis=0)
            wide = 1.96 * each.std() / math.sqrt(len(each))
            interval = said["intervals"][part]
            assert said[part] == pytest.approx(each.mean())
            assert [interval["low"], interval["high"]] == pytest.approx(
                [each.mean() - wide, each.mean() + wide], abs=0.2 * wide
            )
        matrix, sides = rows.mean(0), said["intervals"]["matrix"]
        np.testing.assert_allclose(said["matrix"], matrix)
        assert (np.array(sides["low"]) < matrix).all() and (matrix < np.array(sides["high"])).all()
        each = rows.mean((1, 2))
        wide = 1.96 * each.std() / math.sqrt(len(each))
        assert (said["high"] - said["low"]) == pytest.approx(2 * wide, rel=0.15)


def test_credit_of_every_kind():
    four = [comparison(0, "Focus", 4), comparison(1, "Focus", 4)]
    judged = judge_items("rewardbench2", four, [np.array([1.0, 1, 0, 0]), np.array([2.0, 1, 0, 3])])
    assert judged.credit.tolist() == [0.5, 0.0] and judged.tie.tolist() == [True, False]
    ties = [comparison("tied:1", TIES, 5, num_correct=2)] * 3
    judged = judge_items("rewardbench2", ties, [np.array(r, float) for r in ([3, 2, 1, 0, 0], [3, 1, 1, 0, 0],
                                                                             [3, 3, 3, 0, 0])])  # fmt: skip
    assert judged.credit.tolist() == [1, 0, 0] and judged.tie.tolist() == [False, False, True]
    assert [right_responses(c) for c in (ties[0], four[0])] == [2, 1]
    three = [comparison(0, "x", 3, preferred=2)] * 3
    judged = judge_items("pairs", three, [np.array(r, float) for r in ([0, 1, 2], [0, 2, 2], [3, 0, 2])])
    assert judged.credit.tolist() == [1, 0, 0] and judged.tie.tolist() == [False, True, False]
    for bad, words in (([1.0], "rewards"), ([1.0, np.nan], "rewards"), ([1.0, 2.0, 3.0], "rewards")):
        with pytest.raises(InputError, match=f"comparison 7: {words}"):
            judge_items("pairs", [comparison(7, "x")], [np.array(bad)])
    with pytest.raises(InputError, match="comparison 7: nobody preferred"):
        judge_items("pairs", [comparison(7, "x", preferred=None)], [np.array([1.0, 2.0])])
    with pytest.raises(InputError, match="'mtbench' has no scoring.*rewardbench, rewardbench2"):
        benchmark_scores("mtbench", [], [])


def test_the_leaderboards_files():
    made, rewards = pairs({"alpacaeval-easy": 3, "hep-python": 2})
    made[1] = comparison("named", "alpacaeval-easy")
    scores = benchmark_scores("rewardbench", made, rewards, replicates=20)
    files = {
        name: json.loads(text) for name, text in official_files("rewardbench", "org/m", scores, made, rewards).items()
    }
    assert set(files) == {"eval-set/org/m.json", "eval-set-scores/org/m.json"}
    head = {"model": "org/m", "model_type": "Seq. Classifier", "chat_template": "tokenizer"}
    shares = {name: entry["score"] for name, entry in scores["subsets"].items()}
    assert files["eval-set/org/m.json"] == head | shares
    rows = files["eval-set-scores/org/m.json"]
    assert rows["id"] == [0, "named", 2, 3, 4] and rows["subset"] == [c.subset for c in made]
    assert rows["results"] == [int(r[0] > r[1]) for r in rewards]
    assert rows["scores_chosen"] == [r[0] for r in rewards] and rows["scores_rejected"] == [r[1] for r in rewards]
    for side, name in enumerate(("text_chosen", "text_rejected")):
        assert rows[name][3] == [
            {"role": "user", "content": "prompt 3"}, {"role": "assistant", "content": made[3].responses[side]},
        ]  # fmt: skip
    two = [comparison(0, "Focus", 4), comparison("tied:1", TIES, 4, num_correct=2), comparison("ref:1", TIES, 4)]
    given = [np.arange(4.0)[::-1]] * 3
    scores = benchmark_scores("rewardbench2", two, given, replicates=20)
    rows = json.loads(official_files("rewardbench2", "org/m", scores, two, given)["eval-set-scores/org/m.json"])
    assert rows["results"] == [1.0, None, None] and rows["num_correct"] == [1, 2, 1]
    assert rows["scores"] == [[3.0, 2.0, 1.0, 0.0]] * 3 and len(rows["text"][0]) == 4
    assert all(official_files(kind, "org/m", scores, two, given) == {} for kind in KINDS[2:])
