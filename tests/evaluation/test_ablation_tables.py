"""Entropies, draws, refitted heads and bootstrap weights against the functions and libraries they speed up."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from encore_jax.composition import rating_entropy
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_grid import Axis
from encore_jax.evaluation.ablation_tables import (
    ENTROPY_AXES,
    entropy_table,
    refitted_margins,
    resampling_times,
    training_draws,
)
from encore_jax.evaluation.bootstrap import resampled_totals

RNG = np.random.default_rng(4)
VALUES = (("5 levels", "7 bins"), ("plug_in", "miller_madow", "kde"), ("none", "levels", "observed"), (2.0, np.e))


@pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
def test_entropies_are_rating_entropys_under_every_choice():
    ratings = RNG.integers(0, 11, (90, 4)).astype(np.float32) / 10
    rated = RNG.random(ratings.shape) < 0.8
    axes = [Axis(name, values) for name, values in zip(ENTROPY_AXES, VALUES, strict=True)]
    table = entropy_table(ratings, rated, axes, (0.0, 1.0))
    for row, (grid, estimator, normalize, base) in zip(table, itertools.product(*VALUES), strict=True):
        number, kind = grid.split()
        options = dict(estimator=estimator, normalize=normalize, base=base)
        expected = rating_entropy(ratings, jnp.asarray(rated), **{kind: int(number)}, **options)
        np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize(("change", "message"), [("constant", "has no density"), ("unrated", "has no rating")])
def test_what_has_no_entropy_is_refused_by_rule(change, message):
    ratings, rated = RNG.random((20, 3)).astype(np.float32), np.ones((20, 3), bool)
    ratings[:, 1] = 0.5 if change == "constant" else ratings[:, 1]
    rated[:, 1] = change == "constant"
    axes = [Axis(name, values) for name, values in zip(ENTROPY_AXES, VALUES, strict=True)]
    with pytest.raises(InputError, match=f"rule 1.*{message}"):
        entropy_table(ratings, rated, axes, (0.0, 1.0))


def test_draws_take_whole_prompts_and_larger_shares_contain_smaller_ones():
    cluster = RNG.integers(0, 40, 300) * 3
    draws = training_draws(cluster, (7, 8), (0.25, 0.5, 1.0)).reshape(2, 3, -1)
    prompts = len(np.unique(cluster))
    for of_seed in draws:
        for draw, share in zip(of_seed, (0.25, 0.5, 1.0), strict=True):
            inside, outside = set(cluster[draw]), set(cluster[~draw])
            assert not inside & outside and len(inside) == np.ceil(share * prompts)
        assert (of_seed[0] <= of_seed[1]).all() and of_seed[2].all()
    assert (draws[0, 0] != draws[1, 0]).any()


def test_refitted_heads_are_scikit_learns():
    x = RNG.normal(size=(120, 9)).astype(np.float32)
    ratings, rated = RNG.random((120, 6)).astype(np.float32), RNG.random((120, 6)) < 0.7
    draw, alpha = RNG.random(120) < 0.6, np.linspace(0.5, 20, 6).astype(np.float32)
    difference = RNG.normal(size=(31, 9)).astype(np.float32)
    got = refitted_margins(x, ratings, rated, draw, alpha, difference)
    for k in range(6):
        rows = rated[:, k] & draw
        expected = difference @ Ridge(alpha=alpha[k]).fit(x[rows], ratings[rows, k]).coef_
        np.testing.assert_allclose(got[:, k], expected, atol=2e-5)


def test_resampling_is_that_of_the_bootstrap_with_the_data_first():
    cluster, key = RNG.integers(0, 12, 50), jax.random.key(3)
    times = resampling_times(jnp.asarray(cluster), 12, key, replicates=31)
    sums = jax.nn.one_hot(cluster, 12).T  # [G, N]: totals are how often each comparison is drawn
    np.testing.assert_array_equal(times[0], np.ones(50))
    np.testing.assert_allclose(times[1:], resampled_totals(sums, key, 30), atol=1e-6)
