"""Advantages of groups: NumPy's own arithmetic, what must not matter, and what no trainer may be given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.composition.advantages import (
    CONVENTIONS,
    Convention,
    group_advantages,
    shortfalls,
    updated_multipliers,
)
from encore_jax.errors import InputError

B, G, K = 5, 4, 3
METHODS = ("grpo", "gdpo", "constraints")
THRESHOLDS = np.array([0.2, -np.inf, -0.1], np.float32)


def examples(seed=0, shape=(B, G, K)):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32), rng.uniform(0.1, 1, shape[-1]).astype(np.float32)


def advantages(rewards, weights, method, **options):
    if method == "constraints":
        options = {"thresholds": THRESHOLDS, "multipliers": np.array([2.0, 1.0, 0.5])} | options
    return np.asarray(group_advantages(rewards, weights, method, **options))


def grpo_reference(rewards, weights, eps, ddof):
    total = (rewards.astype(np.float64) * weights).sum(-1)
    return (total - total.mean(-1, keepdims=True)) / (total.std(-1, ddof=ddof, keepdims=True) + eps)


def gdpo_reference(rewards, weights, convention, tokens=None):
    """The paper's equations 4 to 6; each completion's sum repeated once for each of its tokens."""
    r = rewards.astype(np.float64)
    per_rule = (r - r.mean(-2, keepdims=True)) / (r.std(-2, ddof=convention.ddof, keepdims=True) + convention.eps)
    total = (per_rule * weights).sum(-1)
    repeated = total.ravel() if tokens is None else np.repeat(total.ravel(), tokens.ravel())
    centred, variance = total - repeated.mean(), repeated.var(ddof=convention.ddof)
    if convention.batch_variance:
        return centred / np.sqrt(variance + convention.batch_eps)
    return centred / (np.sqrt(variance) + convention.batch_eps)


@pytest.mark.parametrize("convention", [*CONVENTIONS.values(), Convention(eps=0.1, ddof=0, batch_eps=0.2)])
def test_advantages_are_those_of_the_formulas(convention):
    rewards, weights = examples()
    tokens = np.random.default_rng(1).integers(1, 9, (B, G))
    options = {"convention": convention}
    expected = grpo_reference(rewards, weights, convention.eps, convention.ddof)
    assert advantages(rewards, weights, "grpo", **options) == pytest.approx(expected, abs=2e-6)
    expected = gdpo_reference(rewards, weights, convention)
    assert advantages(rewards, weights, "gdpo", **options) == pytest.approx(expected, abs=2e-6)
    expected = gdpo_reference(rewards, weights, convention, tokens)
    assert advantages(rewards, weights, "gdpo", tokens=tokens, **options) == pytest.approx(expected, abs=2e-6)


def test_gdpo_tells_apart_what_the_sum_does_not():
    """The paper's figure 2: two rules met instead of one is worth more, which the sum's own spread hides."""
    rewards = np.array([[[0, 0], [1, 0]], [[0, 0], [1, 1]]], np.float32)
    one, two = advantages(rewards, np.ones(2), "grpo")
    assert one.tolist() == pytest.approx(two.tolist(), abs=1e-3)
    one, two = advantages(rewards, np.ones(2), "gdpo")
    assert two[1] == pytest.approx(2 * one[1], rel=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_gdpo_ignores_each_rules_own_scale_and_offset(seed, scale, offset):
    rewards, weights = examples(seed)
    moved = rewards.copy()
    moved[..., 1] = scale * moved[..., 1] + offset
    exact = Convention(eps=0.0, batch_eps=0.0)
    before, after = (advantages(values, weights, "gdpo", convention=exact) for values in (rewards, moved))
    assert after == pytest.approx(before, abs=2e-3)


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
@settings(max_examples=20, deadline=None)
def test_order_of_groups_completions_and_rules_does_not_matter(seed, method):
    rewards, weights = examples(seed)
    rng = np.random.default_rng(seed)
    group, completion, rule = rng.permutation(B), rng.permutation(G), rng.permutation(K)
    permuted = rewards[group][:, completion][..., rule]
    options = {}
    if method == "constraints":
        options = {"thresholds": THRESHOLDS[rule], "multipliers": np.array([2.0, 1.0, 0.5])[rule]}
    got = advantages(permuted, weights[rule], method, **options)
    assert got == pytest.approx(advantages(rewards, weights, method)[group][:, completion], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equal_completions_have_no_advantage_to_the_last_bit(method, convention):
    rewards = np.tile(np.float32([0.1, 0.7, 1e-3]), (B, 7, 1))
    assert not advantages(rewards, np.float32([0.3, 0.3, 0.4]), method, convention=convention).any()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_compiles_and_has_finite_gradients(method):
    rewards, weights = examples()
    rewards[0] = 0.5  # a group without spread
    options = {"thresholds": THRESHOLDS} if method == "constraints" else {}

    def total(rewards, weights):
        return (group_advantages(rewards, weights, method, **options) ** 3).sum()

    compiled = jax.jit(lambda r, w: group_advantages(r, w, method, **options))(rewards, weights)
    called = group_advantages(rewards, weights, method, **options)
    assert np.asarray(compiled) == pytest.approx(np.asarray(called), abs=1e-5)
    gradients = jax.jit(jax.grad(total, (0, 1)))(jnp.asarray(rewards), jnp.asarray(weights))
    assert all(np.isfinite(np.asarray(gradient)).all() for gradient in gradients)


@pytest.mark.parametrize("method", METHODS)
def test_a_completion_without_rewards_changes_no_others_of_its_group(method):
    rewards, weights = examples()
    with_missing = np.concatenate([rewards, np.full((B, 1, K), np.nan, np.float32)], 1)
    got = advantages(with_missing, weights, method)
    assert not got[:, -1].any() and got[:, :-1] == pytest.approx(advantages(rewards, weights, method), abs=1e-6)


def test_a_gates_weights_apply_after_each_rules_own_spread():
    """A gate that reads the prompt gives a group equal weights: multiplied in before, GDPO would divide them out."""
    rewards, _ = examples()
    gate = np.random.default_rng(2).uniform(0.1, 1, (B, 1, K)).astype(np.float32)
    convention = CONVENTIONS["trl"]
    got = advantages(rewards, gate, "gdpo")
    assert got == pytest.approx(gdpo_reference(rewards, gate, convention), abs=2e-6)
    assert np.abs(got - advantages(rewards * gate, np.ones(K), "gdpo")).max() > 0.1
    same = advantages(rewards, gate, "grpo")  # of a sum it makes no difference
    assert same == pytest.approx(advantages(rewards * gate, np.ones(K), "grpo"), abs=1e-5)


def test_above_its_threshold_a_constraint_earns_nothing_and_below_it_costs():
    rewards = np.array([[0.9, 0.9], [0.9, 0.6], [0.9, 0.4], [0.9, 0.1]], np.float32)
    got = advantages(rewards, [1.0, 0.0], "constraints", thresholds=[-np.inf, 0.5], multipliers=[1.0, 1.0])
    assert got[0] == got[1] > got[2] > got[3]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_multipliers_rise_where_a_rule_falls_short_and_never_below_zero(seed):
    rewards, _ = examples(seed)
    before, thresholds = np.float32([0.0, 1.0, 3.0]), np.float32([10.0, -np.inf, -10.0])
    after = np.asarray(updated_multipliers(before, rewards, thresholds, step_size=0.5, tolerance=4.0))
    assert after[0] > before[0] and after[1] == 0 and after[2] == 1.0
    assert not np.isnan(np.asarray(shortfalls(rewards, thresholds))).any()


REFUSED = {
    "rules": ((np.zeros((2, 3)), np.ones(2)), {}, "do not fit"),
    "one weight for all": ((np.zeros((2, 3)), np.ones(1)), {}, "do not fit"),
    "more groups of weights": ((np.zeros((2, 3)), np.ones((5, 2, 3))), {}, "do not fit"),
    "one axis": ((np.zeros(3), np.ones(3)), {}, "has shape"),
    "none": ((np.zeros((0, 3)), np.ones(3)), {}, "have shape"),
    "infinite": ((np.full((2, 3), np.inf), np.ones(3)), {}, "infinite"),
    "weights": ((np.zeros((2, 3)), [np.nan, 1, 1]), {}, "not finite"),
    "text": ((np.zeros((2, 3)), ["a", "b", "c"]), {}, "no numbers"),
    "method": ((np.zeros((2, 3)), np.ones(3), "ppo"), {}, "'ppo'"),
    "convention": ((np.zeros((2, 3)), np.ones(3)), {"convention": "tlr"}, "'tlr'"),
    "no thresholds": ((np.zeros((2, 3)), np.ones(3), "constraints"), {}, "missing"),
    "other method's": ((np.zeros((2, 3)), np.ones(3), "gdpo"), {"thresholds": np.ones(3)}, "has no thresholds"),
    "thresholds": ((np.zeros((2, 3)), np.ones(3), "constraints"), {"thresholds": np.ones(2)}, "have shape"),
    "NaN": ((np.zeros((2, 3)), np.ones(3), "constraints"), {"thresholds": [np.nan, 0, 0]}, "not a number"),
    "negative": (
        (np.zeros((2, 3)), np.ones(3), "constraints"), {"thresholds": np.ones(3), "multipliers": [-1, 0, 0]}, "is neg",
    ),
    "tokens": ((np.zeros((2, 3)), np.ones(3), "gdpo"), {"tokens": np.ones(3)}, "have shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    arguments, options, problem = REFUSED[name]
    with pytest.raises(InputError, match=problem):
        group_advantages(*arguments, **options)
