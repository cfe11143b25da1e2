"""Greedy MAP and k-DPP against brute force over all subsets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition.dpp import greedy_map, log_det, log_elementary_symmetric, rating_gram, sample_kdpp
from encore_jax.errors import InputError


def gram_of(m, n=12, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, m)).astype(np.float32)
    x[:, 1] = x[:, 0] + 0.2 * x[:, 1]  # two nearly equal rules
    return x.T @ x / n


def subsets(m, k):
    return list(itertools.combinations(range(m), k))


@pytest.mark.parametrize("seed", range(5))
def test_greedy_takes_the_largest_determinant_at_every_step(seed):
    gram = gram_of(9, seed=seed)
    chosen, gains = (np.asarray(x) for x in greedy_map(gram, 6))
    assert len(set(chosen.tolist())) == 6
    before = 0.0
    for i in range(6):
        have = chosen[:i].tolist()
        value = {
            j: np.linalg.slogdet(gram[np.ix_([*have, j], [*have, j])].astype(np.float64))[1]
            for j in range(9)
            if j not in have
        }
        assert max(value, key=value.get) == chosen[i]
        assert gains[i] == pytest.approx(value[chosen[i]] - before, abs=1e-3)
        before = value[chosen[i]]
    assert gains.sum() == pytest.approx(float(log_det(gram, chosen)), abs=1e-3)


def test_greedy_follows_the_rules_wherever_they_stand():
    gram, order = gram_of(10), np.random.default_rng(1).permutation(10)
    chosen = np.asarray(greedy_map(gram, 5)[0])
    moved = np.asarray(greedy_map(gram[np.ix_(order, order)], 5)[0])
    np.testing.assert_array_equal(order[moved], chosen)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_elementary_symmetric_polynomials_equal_sums_over_subsets(k):
    x = np.random.default_rng(2).gamma(0.3, 5, 6)
    e = np.exp(np.asarray(log_elementary_symmetric(jnp.log(jnp.asarray(x, jnp.float32)), k)))
    for m in range(7):
        for j in range(k + 1):
            exact = sum(np.prod(x[list(s)]) for s in itertools.combinations(range(m), j))
            assert e[m, j] == pytest.approx(exact, rel=1e-4)


def test_elementary_symmetric_polynomials_do_not_overflow():
    e = np.asarray(log_elementary_symmetric(jnp.full(400, 5.0), 100))
    exact = scipy.special.gammaln(401) - scipy.special.gammaln(101) - scipy.special.gammaln(301) + 500
    assert e[400, 100] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_kdpp_draws_subsets_as_often_as_their_determinants_say(k):
    gram, sets = gram_of(6), subsets(6, k)
    det = np.array([np.linalg.det(gram[np.ix_(s, s)].astype(np.float64)) for s in sets])
    from encore_jax.composition.dpp import _sample

    eigenvalues, vectors = np.linalg.eigh(gram.astype(np.float64))
    args = jnp.log(jnp.asarray(eigenvalues, jnp.float32)), jnp.asarray(vectors, jnp.float32)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: _sample(*args, k, key)))(keys))
    counts = np.array([(drawn == s).all(1).sum() for s in sets])
    assert counts.sum() == len(keys)  # k different rules, in order
    expected = det / det.sum() * len(keys)
    often = expected >= 5
    pooled = [np.append(x[often], x[~often].sum()) for x in (counts, expected)]
    observed, expected = (x[x > 0] if (pooled[1] > 0).all() else x[:-1] for x in pooled)
    if len(expected) > 1:
        assert scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3
    np.testing.assert_array_equal(sample_kdpp(gram, k, keys[3]), drawn[3])


def test_the_gram_matrix_is_numpys_correlation():
    ratings = np.random.default_rng(3).random((40, 5)).astype(np.float32)
    np.testing.assert_allclose(rating_gram(ratings), np.corrcoef(ratings.T), atol=1e-5)
    raw = ratings / np.linalg.norm(ratings, axis=0)
    np.testing.assert_allclose(rating_gram(ratings, centred=False), raw.T @ raw, atol=1e-5)


def test_missing_ratings_say_nothing():
    rng = np.random.default_rng(4)
    ratings, where = rng.random((30, 4)).astype(np.float32), rng.random((30, 4)) < 0.7
    changed = np.where(where, ratings, 99.0).astype(np.float32)
    np.testing.assert_allclose(rating_gram(ratings, where), rating_gram(changed, where), atol=1e-6)
    both = where[:, 0] & where[:, 1]
    assert both.any() and float(rating_gram(ratings, where)[0, 0]) == pytest.approx(1.0, abs=1e-5)


def test_equal_and_constant_rules_cannot_both_be_chosen():
    ratings = np.random.default_rng(5).random((20, 4)).astype(np.float32)
    ratings[:, 2], ratings[:, 3] = ratings[:, 0], 0.5
    gram = rating_gram(ratings)
    chosen = np.asarray(greedy_map(gram, 2)[0]).tolist()
    assert sorted(chosen) in ([0, 1], [1, 2])
    for choose in (lambda: greedy_map(gram, 3), lambda: sample_kdpp(gram, 3, jax.random.key(0))):
        with pytest.raises(InputError, match="tell only 2 rules apart, 3 are wanted"):
            choose()


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_the_ratings_unit_changes_no_choice(size):
    """P(S) ∝ det(L_S) is the same for a multiple of L, and so is its rank: enough or too little."""
    gram, key = gram_of(6), jax.random.key(1)
    np.testing.assert_array_equal(sample_kdpp(size * gram, 4, key), sample_kdpp(gram, 4, key))
    np.testing.assert_array_equal(greedy_map(size * gram, 4)[0], greedy_map(gram, 4)[0])
    for choose in (lambda: greedy_map(size * gram_of(6, n=3), 4), lambda: sample_kdpp(size * gram_of(6, n=3), 4, key)):
        with pytest.raises(InputError, match="tell only 3 rules apart, 4 are wanted"):
            choose()


@pytest.mark.parametrize("k", [0, 7])
def test_a_size_that_cannot_be_is_refused(k):
    with pytest.raises(InputError, match="use 1 to 6"):
        greedy_map(gram_of(6), k)
    with pytest.raises(InputError, match="use 1 to 6"):
        sample_kdpp(gram_of(6), k, jax.random.key(0))


def test_a_hundred_of_four_hundred():
    rng = np.random.default_rng(6)
    common = rng.standard_normal((2000, 20)) @ rng.standard_normal((20, 400))
    ratings = (common + 0.5 * rng.standard_normal((2000, 400))).astype(np.float32)
    gram = rating_gram(ratings)
    greedy = float(log_det(gram, greedy_map(gram, 100)[0]))
    drawn = [sample_kdpp(gram, 100, jax.random.key(i)) for i in range(3)]
    plain = [float(log_det(gram, rng.permutation(400)[:100])) for _ in range(30)]
    sampled = [float(log_det(gram, s)) for s in drawn]
    assert greedy > max(sampled) and np.mean(sampled) > np.mean(plain)
    assert all(len(np.unique(s)) == 100 for s in drawn)
