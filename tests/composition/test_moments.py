"""Sums and the correlations that follow from them, against NumPy on the rows themselves."""

import itertools

import numpy as np
import pytest

from encore_jax.composition.moments import (
    FEWEST_TOGETHER,
    Moments,
    correlations,
    moments_of,
    prompt_groups,
    rating_rows,
    spreads,
)

N, K, G = 240, 5, 6
MEANS = np.array([3.0, -2.0, 0.0, 40.0, 0.5])


def ratings_and_mask(seed, missing):
    """Correlated ratings of unequal means and spreads; what is missing depends on them, so pairs' means differ."""
    rng = np.random.default_rng(seed)
    ratings = rng.normal(size=(N, K)) @ rng.normal(size=(K, K)) * [1, 0.2, 3, 5, 1] + MEANS
    hidden = rng.random((N, K)) < missing * (1 + np.tanh(np.roll(ratings - MEANS, 1, axis=1)))
    return ratings, ~hidden


def raw_moments(values, mask, group):
    """By loops over pairs of rules, about 0."""
    parts = np.zeros((4, group.max() + 1, K, K))
    for g, i, j in itertools.product(range(group.max() + 1), range(K), range(K)):
        rows = (group == g) & mask[:, i] & mask[:, j]
        x, y = values[rows, i], values[rows, j]
        parts[:, g, i, j] = rows.sum(), x.sum(), (x * y).sum(), (x * x).sum()
    return Moments(*parts)


def pairwise_complete(values, mask):
    """NumPy's correlations of the rows that have both rules; 0 on the diagonal."""
    expected = np.zeros((K, K))
    for i, j in itertools.combinations(range(K), 2):
        rows = mask[:, i] & mask[:, j]
        expected[i, j] = expected[j, i] = np.corrcoef(values[rows, i], values[rows, j])[0, 1]
    return expected


def together(mask):
    return (mask.T.astype(int) @ mask) * (1 - np.eye(K))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("build", ["loops", "library"])
def test_correlations_equal_numpys_over_pairwise_complete_rows(missing, build):
    """Whatever the means, the mask and the groups are, and wherever the sums are taken about."""
    values, mask = ratings_and_mask(1, missing)
    assert missing == 0 or 0.1 < 1 - mask.mean() < 0.6
    group = np.random.default_rng(2).permutation(np.arange(N) % G)
    groups = raw_moments(values, mask, group) if build == "loops" else moments_of(rating_rows(values, mask), group)
    for moments in (groups.total(), groups.centred().total()):
        correlation, count = correlations(moments)
        np.testing.assert_allclose(correlation, pairwise_complete(values, mask), atol=2e-5)
        np.testing.assert_array_equal(count, together(mask))
    np.testing.assert_allclose(spreads(groups.total()), [values[m, k].std() for k, m in enumerate(mask.T)], rtol=1e-6)


def test_a_draw_of_groups_has_the_correlations_of_their_rows_repeated():
    values, mask = ratings_and_mask(3, 0.2)
    group = np.arange(N) % G
    times = np.array([[1, 0, 2, 3, 0, 0], [0, 1, 0, 0, 1, 4]])
    correlation, count = correlations(moments_of(rating_rows(values, mask), group).resampled(times.astype(float)))
    for r, drawn in enumerate(times):
        rows = np.repeat(np.arange(N), drawn[group])
        np.testing.assert_allclose(correlation[r], pairwise_complete(values[rows], mask[rows]), atol=2e-5)
        np.testing.assert_array_equal(count[r], together(mask[rows]))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_differences_correlate_as_if_every_pair_stood_in_both_orders(missing):
    values, mask = ratings_and_mask(4, missing)
    rows = rating_rows(values.reshape(N // 3, 3, K), mask.reshape(N // 3, 3, K), np.arange(N // 3) % 9)
    moments = moments_of(rows, prompt_groups(rows.prompt)).total()
    trios, rated = values.reshape(N // 3, 3, K), mask.reshape(N // 3, 3, K)
    orders = list(itertools.permutations(range(3), 2))
    both = np.concatenate([trios[:, a] - trios[:, b] for a, b in orders])
    exist = np.concatenate([rated[:, a] & rated[:, b] for a, b in orders])
    correlation, count = correlations(moments)
    np.testing.assert_allclose(correlation, pairwise_complete(both, exist), atol=2e-5)
    np.testing.assert_array_equal(count, together(exist) / 2)
    np.testing.assert_allclose(spreads(moments), [both[m, k].std() for k, m in enumerate(exist.T)], rtol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_centred_moments_are_sums_about_the_means_of_a_pairs_rows(missing):
    values, mask = ratings_and_mask(5, missing)
    group = np.arange(N) % G
    centred = raw_moments(values, mask, group).centred()
    for i, j in itertools.product(range(K), range(K)):
        both = mask[:, i] & mask[:, j]
        x, y = values[:, i] - values[both, i].mean(), values[:, j] - values[both, j].mean()
        for g in range(G):
            rows = both & (group == g)
            sums = [part[g, i, j] for part in centred]
            np.testing.assert_allclose(sums, [rows.sum(), 0, x[rows] @ y[rows], x[rows] @ x[rows]], atol=1e-8)


def test_sums_lose_no_digits_far_from_zero():
    values, mask = ratings_and_mask(8, 0.2)
    moments = moments_of(rating_rows(values + 1e8, mask), np.arange(N) % G).total()
    np.testing.assert_allclose(correlations(moments)[0], pairwise_complete(values, mask), atol=2e-5)
    np.testing.assert_allclose(spreads(moments), [values[m, k].std() for k, m in enumerate(mask.T)], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_a_pair_of_rules_needs_enough_rows_and_rules_that_vary_in_them(size):
    """Rule 0 and 1 have just enough rows in common; 2 has one fewer; 3 is constant where it is rated."""
    values = np.random.default_rng(6).normal(size=(60, 4)) + 1e4
    mask = np.ones((60, 4), bool)
    mask[FEWEST_TOGETHER:, 1], mask[FEWEST_TOGETHER - 1 :, 2] = False, False
    values[:, 3] = 0.1
    correlation, count = correlations(moments_of(rating_rows(size * values, mask), np.zeros(60, int)).total())
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = FEWEST_TOGETHER
    np.testing.assert_array_equal(count, expected)
    np.testing.assert_array_equal(np.asarray(correlation) != 0, expected > 0)


@pytest.mark.parametrize("most", [1, 4, 50])
def test_groups_are_of_whole_prompts_and_even(most):
    prompt = np.random.default_rng(7).permutation(np.repeat(np.arange(100, 130), 3))
    group = prompt_groups(prompt, seed=1, most=most)
    members = [set(prompt[group == g]) for g in range(min(most, 30))]
    assert set().union(*members) == set(range(100, 130)) and sum(map(len, members)) == 30
    assert max(map(len, members)) - min(map(len, members)) <= 1
