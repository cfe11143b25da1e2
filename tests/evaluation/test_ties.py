"""Every table counts the ties of exact rational arithmetic: ratings on tenths, where floating point finds others."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.composition import margin_tolerances, margins
from encore_jax.composition.ties import settled
from encore_jax.data import Comparison, Message
from encore_jax.evaluation import audit
from encore_jax.evaluation.ablation_grid import all_subsets
from encore_jax.evaluation.ablation_kernel import Tables, Tile, decide_range, settings_mesh
from encore_jax.evaluation.benchmark import benchmark_scores, judge_items
from encore_jax.evaluation.methods import accuracy_under, half_credit
from encore_jax.evaluation.preference import preference_results
from encore_jax.evaluation.ramo import arm_results
from encore_jax.evaluation.view import Pairs
from encore_jax.report.audit_page import page_data

N, K = 240, 6
NUMBERS = np.random.default_rng(4).integers(0, 11, (N, 2, K))
NUMBERS[::3, 1] = np.random.default_rng(5).permuted(NUMBERS[::3, 0], axis=1)
NUMBERS[1::3, :, 0] = 7  # and a rule that is of no use for a third of them
PREFERRED = np.random.default_rng(6).integers(0, 2, N)
PAIRS = Pairs(
    (NUMBERS / 10).astype(np.float32), PREFERRED, np.arange(N) // 2, np.array(["a", "b"])[np.arange(N) % 2]
)  # fmt: skip
ROW = np.arange(N)
EXACT = NUMBERS[ROW, PREFERRED] - NUMBERS[ROW, 1 - PREFERRED]
"""Tenths, preferred minus other."""
EQUAL = np.full(K, 1 / K, np.float32)


def credit(total):
    return np.where(total > 0, 1.0, np.where(total == 0, 0.5, 0.0))


def test_floating_point_would_find_other_ties():
    naive = np.asarray(margins(PAIRS.scores, PREFERRED)) @ EQUAL
    assert (naive == 0).sum() < (EXACT.sum(1) == 0).sum() - 10


def test_credit_and_ties_of_weightings():
    fractions = np.array(
        [[Fraction(1, 3), Fraction(1, 6)], [Fraction(1, 6), 0], *[[Fraction(1, 8), Fraction(1, 4)]] * 4]
    )
    fractions[-1, 1] = Fraction(1, 12)
    total = EXACT.astype(object) @ fractions
    weights = fractions.astype(np.float64).astype(np.float32)
    half, ties = half_credit(PAIRS, weights)
    np.testing.assert_array_equal(half, credit(total))
    np.testing.assert_array_equal(ties, total == 0)
    assert ties[:, 1].sum() > 3
    np.testing.assert_allclose(accuracy_under(PAIRS, weights), credit(total).mean(0), atol=1e-6)


@pytest.mark.parametrize("critical", [1, 2, 3])
def test_the_largest_rules_tie_as_exact_arithmetic_says(critical):
    """Rules that tie for the last places share them; the sum of the shares is 0 or not, whatever tenths round to."""
    total = []
    for delta in EXACT.tolist():
        last = sorted(map(abs, delta))[-critical]
        above, at_last = ([d for d in delta if test(abs(d))] for test in (last.__lt__, last.__eq__))
        total.append(sum(above) + Fraction((critical - len(above)) * sum(at_last), len(at_last)))
    total = np.array(total, object)
    half, ties = half_credit(PAIRS, np.full(K, 1 / K, np.float32), critical)
    np.testing.assert_array_equal(half, credit(total))
    np.testing.assert_array_equal(ties, total == 0)
    assert ties.sum() > 10


def test_the_audit_loses_gains_and_ties_as_exact_arithmetic_says():
    parts = audit.contributions(PAIRS.scores, PREFERRED, EQUAL)
    slack = audit.tolerances(PAIRS.scores, EQUAL)
    whole = EXACT.sum(1)
    margin = audit.whole_margin(parts, slack)
    np.testing.assert_array_equal(margin.sign, np.sign(whole))
    without = whole[:, None] - EXACT
    lost, gained = audit.flips(parts, slack)
    np.testing.assert_array_equal(lost, (whole > 0)[:, None] & (without <= 0))
    np.testing.assert_array_equal(gained, (whole <= 0)[:, None] & (without > 0))
    np.testing.assert_array_equal(audit.accuracy_without(parts, slack), credit(without).mean(0))
    member = (np.arange(1 << K)[None] >> np.arange(K)[:, None]) & 1
    subsets = credit(EXACT @ member).mean(0)
    np.testing.assert_allclose(audit.subset_accuracy(parts, slack), subsets, atol=1e-6)
    exact = audit.shapley_accuracy(parts, jax.random.key(0), tolerance=slack).value
    assert exact.sum() == pytest.approx(credit(whole).mean() - 0.5, abs=1e-6)
    rules = audit.audit_rules(tuple("abcdef"), EQUAL, parts, margins(PAIRS.scores, PREFERRED), jax.random.key(0), slack)
    assert [rule["ties"] for rule in rules] == (EXACT == 0).sum(0).tolist()
    assert [rule["lost"] for rule in rules] == lost.sum(0).tolist()
    comparisons = [Comparison((Message("user", "?"),), ("a", "b"), int(p), id=str(i)) for i, p in enumerate(PREFERRED)]
    page = page_data(rules, comparisons, PAIRS.first_preferred, parts, slack)
    assert page["outcome"] == np.sign(whole).tolist()
    assert page["turns"] == [np.flatnonzero(row).tolist() for row in lost | gained]


def test_random_orders_count_ties_too(monkeypatch):
    """Every rule's gains over the same orders, by exact arithmetic."""
    monkeypatch.setattr(audit, "EXACT", 2)
    parts, slack = audit.contributions(PAIRS.scores, PREFERRED, EQUAL), audit.tolerances(PAIRS.scores, EQUAL)
    found = audit.shapley_accuracy(parts, jax.random.key(7), 50, slack).value
    expected = np.zeros((50, K))
    for o, key in enumerate(jax.random.split(jax.random.key(7), 50)):
        order = np.asarray(jax.random.permutation(key, K))
        steps = np.concatenate([[0.5], credit(EXACT[:, order].cumsum(1)).mean(0)])
        expected[o, order] = np.diff(steps)
    np.testing.assert_allclose(found, expected.mean(0), atol=1e-6)


@pytest.mark.parametrize("tile", [Tile(1023, 512), Tile(100, 9)])
def test_the_ablation_engine_counts_what_exact_arithmetic_counts(tile):
    """Equal weights on every subset: at an infinite temperature, and with equal entropies at any."""
    subset = all_subsets(K)
    tables = Tables(jnp.zeros((2, K)), jnp.asarray([1.0, np.inf], jnp.float32), jnp.asarray(subset))
    run = functools.partial(
        decide_range, margins(PAIRS.scores, PREFERRED), tables, jnp.zeros(3, jnp.int32), count=4 * len(subset),
        mesh=settings_mesh(), tile=tile, tolerance=margin_tolerances(PAIRS.scores),
    )  # fmt: skip
    total = EXACT @ np.tile(subset, (4, 1)).T.astype(int)
    got = run()
    np.testing.assert_array_equal(got.ties, (total == 0).sum(0))
    np.testing.assert_array_equal(got.correct, (total > 0).sum(0))
    times = np.random.default_rng(0).poisson(1.0, (3, N)).astype(np.float32)
    drawn = run(jnp.asarray(times))
    np.testing.assert_array_equal(drawn.ties, ((total == 0).T.astype(int) @ times.T))
    np.testing.assert_array_equal(drawn.correct, ((total > 0).T.astype(int) @ times.T))


def test_the_engine_lets_rules_of_tiny_weight_decide_where_the_heavy_ones_tie():
    """At a low temperature the weights are so far apart that the order of the entropies decides."""
    entropy = np.arange(K, dtype=np.float32)[None]
    tables = Tables(jnp.asarray(entropy), jnp.asarray([0.05], jnp.float32), jnp.ones((1, K), bool))
    got = decide_range(
        margins(PAIRS.scores, PREFERRED), tables, jnp.zeros(3, jnp.int32), count=1, mesh=settings_mesh(),
        tolerance=margin_tolerances(PAIRS.scores),
    )  # fmt: skip
    first = EXACT[ROW, (EXACT != 0).argmax(1)]
    assert (EXACT[:, 0] == 0).sum() > N / 3
    assert (int(got.correct[0]), int(got.ties[0])) == ((first > 0).sum(), (first == 0).sum())


def test_tables_of_scalar_rewards_tie_where_rewards_are_equal():
    reward = NUMBERS[:, :, 0] / 10 - 3.0
    methods = preference_results({"model": reward, "other": -reward}, np.arange(N), ["x"] * N, 0, 50)["methods"]
    ties = int((NUMBERS[:, 0, 0] == NUMBERS[:, 1, 0]).sum())
    assert [method["ties"] for method in methods] == [ties, ties] and ties > 20
    margin = (reward[:, 0] - reward[:, 1])[None]
    [row] = arm_results({"initial": margin}, [], np.zeros(N, int), np.arange(N), 0, 20)
    assert row["accuracy"]["value"] == credit(NUMBERS[:, 0, 0] - NUMBERS[:, 1, 0]).mean()


def test_benchmarks_of_several_heads_tie_within_rounding_and_published_scores_exactly():
    """Rewards of 0.15 made of 0.1 + 0.05 and of 0.05 + 0.1, and one that is a little less."""
    close, less = np.float64(0.15) + np.array([0.0, 3e-9, -3e-9, 1e-3]), 0.1
    comparison = Comparison((Message("user", "?"),), tuple("abcde"), 0, subset="Focus", id="1")
    rewards = np.array([*close[:3], less, less])
    for kind, credit_of_ties in (("rewardbench2", 1 / 3), ("pairs", 0.0)):
        equal = judge_items(kind, [comparison], [settled(rewards, 1e-8)])
        assert (equal.credit.tolist(), equal.tie.tolist()) == ([credit_of_ties], [True])
        exact = judge_items(kind, [comparison], [rewards])
        assert (exact.credit.tolist(), exact.tie.tolist()) == ([0.0], [False])  # the second is larger, if by 3e-9
    styles = Comparison((Message("user", "?"),), tuple("abcdef"), 0, subset="chat", id="1")
    nine = benchmark_scores("rm_bench", [styles], [settled(np.array([0.2, *close[:2], *close[:2], 0.3]), 1e-8)])
    assert nine["scores"]["chat"]["matrix"] == [[1, 1, 0], [0, 0, 0], [0, 0, 0]] and nine["ties"] == 1
