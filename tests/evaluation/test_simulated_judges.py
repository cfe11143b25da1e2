"""Simulated judges: their answers lie on the grid and err exactly as declared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from encore_jax.errors import InputError
from encore_jax.evaluation.simulated_judges import answers, simulated_ratings, uniform_numbers

NOISES = ("guess", "gaussian", "shrink", "flip")
KEY = jax.random.key(2)
HUMAN = np.random.default_rng(0).integers(0, 5, 4000).astype(np.float32) / 4
STRENGTH = np.array([0.0, 0.3, 1.0], np.float32)


def rate(noise, levels=5, key=KEY):
    return np.asarray(simulated_ratings(jnp.asarray(HUMAN), jnp.asarray(STRENGTH), key, noise, levels))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("levels", [2, 5, 11])
def test_answers_lie_on_the_grid_and_a_perfect_judge_only_rounds(noise, levels):
    ratings = rate(noise, levels)
    assert ratings.shape == (4000, 3) and ratings.dtype == np.float32
    steps = ratings * (levels - 1)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-5)
    assert ratings.min() >= 0 and ratings.max() <= 1
    np.testing.assert_allclose(ratings[:, 0], np.round(HUMAN * (levels - 1)) / (levels - 1), atol=1e-6)


def test_guess_is_uniform_over_levels_as_often_as_declared():
    ratings = rate("guess")
    assert scipy.stats.chisquare(np.bincount((ratings[:, 2] * 4).round().astype(int))).pvalue > 1e-3
    changed = (ratings[:, 1] != HUMAN).mean()
    assert changed == pytest.approx(0.3 * 4 / 5, abs=0.03)  # one guess in five hits by luck


def test_shrink_and_flip_err_as_often_as_declared():
    shrunk, flipped = rate("shrink"), rate("flip")
    off = HUMAN != 0.5
    assert (shrunk[:, 2] == 0.5).all() and (flipped[:, 2] == 1 - HUMAN).all()
    for ratings, wrong in ((shrunk, np.full_like(HUMAN, 0.5)), (flipped, 1 - HUMAN)):
        erred = ratings[off, 1] == wrong[off]
        assert erred.mean() == pytest.approx(0.3, abs=0.03)
        assert (ratings[off, 1][~erred] == HUMAN[off][~erred]).all()


def test_gaussian_noise_has_the_declared_spread():
    human = jnp.full(20_000, 0.5, jnp.float32)
    ratings = np.asarray(simulated_ratings(human, jnp.array([0.1]), KEY, "gaussian", 101))
    assert ratings.mean() == pytest.approx(0.5, abs=0.003) and ratings.std() == pytest.approx(0.1, abs=0.003)
    assert scipy.stats.skew(ratings[:, 0]) == pytest.approx(0, abs=0.06)
    assert scipy.stats.kurtosis(ratings[:, 0]) == pytest.approx(0, abs=0.12)


@pytest.mark.parametrize("noise", NOISES)
def test_the_key_alone_decides(noise):
    np.testing.assert_array_equal(rate(noise), rate(noise))
    assert (rate(noise) != rate(noise, key=jax.random.key(3))).any()


def test_judges_and_responses_err_independently():
    same = jnp.full(4, 0.3, jnp.float32)
    erred = np.asarray(simulated_ratings(jnp.ones(4000), same, KEY, "flip", 2)) == 0
    correlation = np.corrcoef(erred.T)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(erred[:-1, 0], erred[1:, 0])[0, 1]) < 4 / np.sqrt(4000)


def test_chance_made_explicit_gives_the_same():
    chance = jax.random.uniform(KEY, (2, 4000, 3))
    direct = answers(jnp.asarray(HUMAN), jnp.asarray(STRENGTH), chance, "guess", 5)
    np.testing.assert_array_equal(direct, rate("guess"))


def test_the_largest_chance_is_no_level_too_many():
    almost_one = jnp.full((2, 3, 1), np.nextafter(np.float32(1), np.float32(0)))
    for noise in NOISES:
        for levels in (2, 11, 101):
            got = answers(jnp.array([0.0, 0.5, 1.0]), jnp.ones(1), almost_one, noise, levels)
            assert got.min() >= 0 and got.max() <= 1


# Refusals


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_ratings_and_noise_levels_beyond_zero_and_one_are_refused(bad):
    with pytest.raises(InputError, match="response 1"):
        simulated_ratings(jnp.array([0.5, bad]), jnp.array([0.1]), KEY)
    with pytest.raises(InputError, match="judge 1"):
        simulated_ratings(jnp.array([0.5]), jnp.array([0.1, bad]), KEY)


def test_one_level_is_refused():
    with pytest.raises(InputError, match="levels"):
        simulated_ratings(jnp.array([0.5]), jnp.array([0.1]), KEY, levels=1)


def test_an_unknown_noise_is_refused():
    with pytest.raises(InputError, match="'pink' is unknown.*guess, gaussian, shrink"):
        simulated_ratings(jnp.array([0.5]), jnp.array([0.1]), KEY, "pink")


@pytest.mark.parametrize(("human", "strength"), [((2, 1), (3,)), ((2,), (3, 1)), ((), (3,))])
def test_other_shapes_are_refused(human, strength):
    with pytest.raises(InputError, match=r"\[N\].*\[K\]"):
        simulated_ratings(jnp.zeros(human), jnp.zeros(strength), KEY)


@pytest.mark.parametrize("shape", [(7,), (3, 2, 11, 4)])
def test_uniform_numbers_are_those_of_jax_random(shape):
    for key in (jax.random.key(3), jax.random.fold_in(jax.random.key(0), 9), jax.random.key(1, impl="rbg")):
        np.testing.assert_array_equal(uniform_numbers(key, shape), jax.random.uniform(key, shape))
