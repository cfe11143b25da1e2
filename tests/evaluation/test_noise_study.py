"""Juries of simulated judges against a loop, and what each kind of noise does to ENCORE."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.evaluation.noise_study import NOISES, TAUS, WORST, _spread, juries, noise_study
from encore_jax.evaluation.simulated_judges import answers

RNG = np.random.default_rng(9)
QUALITY = (RNG.integers(0, 2, 120)).astype(np.float32)
FOR_ENTROPY = np.arange(120) < 70
PAIRS = np.stack([RNG.permutation(np.flatnonzero(QUALITY == q))[:45] for q in (1, 0)], 1)
JUDGES, LEVELS, DRAWS = 6, 5, 3


@pytest.mark.parametrize("levels", [5, 11])  # quarters are exact in binary, tenths are not
@pytest.mark.parametrize("noise", ["guess", "gaussian"])
def test_juries_equal_a_loop(noise, levels):
    strength = jnp.asarray(np.linspace([0.1, 0.1], [0.5, 0.9], JUDGES).T, jnp.float32)
    chance = jax.random.uniform(jax.random.key(1), (DRAWS, 2, 120, JUDGES))
    taus = (2.0, 0.2)
    got = juries(
        jnp.asarray(QUALITY), jnp.asarray(FOR_ENTROPY), jnp.asarray(PAIRS), strength, chance,
        jnp.asarray(taus, jnp.float32), noise=noise, levels=levels,
    )  # fmt: skip
    assert got["encore"].shape == (2, DRAWS, len(taus)) and got["agreement"].shape == (2, DRAWS)
    for w in range(2):
        for d in range(DRAWS):
            ratings = np.asarray(answers(jnp.asarray(QUALITY), strength[w], chance[d], noise, levels), np.float64)
            grid = np.round(ratings * (levels - 1)).astype(int)
            entropy = np.array([scipy.stats.entropy(np.bincount(column[FOR_ENTROPY])) for column in grid.T])
            delta = (grid[PAIRS[:, 0]] - grid[PAIRS[:, 1]]) / (levels - 1)

            def accuracy(margin):
                margin = np.round(margin, 6)
                return ((margin > 0) + 0.5 * (margin == 0)).mean(0)

            r = np.corrcoef(entropy, accuracy(delta))[0, 1]
            np.testing.assert_allclose(got["correlation"][w, d], r, atol=1e-4)
            one = 1.01 / len(PAIRS)  # a tie may be rounded either way
            np.testing.assert_allclose(got["uniform"][w, d], accuracy(delta.mean(1)), atol=one)
            both = np.concatenate([delta, -delta])
            fit = agreement_loadings(np.stack([delta, np.zeros_like(delta)], 1)).loading
            weights = np.asarray(agreement_weights(fit, both.std(0)), np.float64)
            np.testing.assert_allclose(got["agreement"][w, d], accuracy(delta @ weights), atol=one)
            for t, tau in enumerate(taus):
                weights = np.exp(-entropy / tau)
                np.testing.assert_allclose(
                    got["encore"][w, d, t], accuracy(delta @ (weights / weights.sum())), atol=one
                )


@pytest.fixture(scope="module")
def study():
    return noise_study(QUALITY, FOR_ENTROPY, PAIRS, judges=JUDGES, best=0.05, levels=LEVELS, draws=DRAWS, seed=0)


def test_it_is_json_with_every_noise_and_level(study):
    assert json.dumps(json.loads(json.dumps(study))) == json.dumps(study)
    assert set(study["noise"]) == set(NOISES) and study["worst"] == list(WORST) and study["tau"] == list(TAUS)
    for outcome in study["noise"].values():
        spreads = [outcome["correlation"], outcome["uniform"], *outcome["gain"], outcome["agreement"]]
        assert len(spreads) == 3 + len(TAUS)
        for spread in spreads:
            assert len(spread["mean"]) == len(spread["sd"]) == len(WORST) and not min(spread["sd"]) < 0


def test_it_depends_on_the_seed_alone(study):
    options = dict(judges=JUDGES, best=0.05, levels=LEVELS, draws=DRAWS)
    again, other = (noise_study(QUALITY, FOR_ENTROPY, PAIRS, **options, seed=seed) for seed in (0, 1))
    assert json.dumps(again) == json.dumps(study) != json.dumps(other)


def test_the_more_judges_guess_the_worse_and_entropy_tells_them(study):
    guess = study["noise"]["guess"]
    assert guess["uniform"]["mean"][0] > guess["uniform"]["mean"][-1]
    assert guess["correlation"]["mean"][-1] < -0.7


def test_agreement_finds_guessing_judges_where_entropy_does_and_misreading_ones_too(study):
    for noise in ("guess", "flip"):
        assert study["noise"][noise]["agreement"]["mean"][-1] > -0.005, "never much worse than equal weights"
    assert study["noise"]["guess"]["agreement"]["mean"][-1] > 0


def test_two_judges_have_no_agreement():
    arrays = map(jnp.asarray, (QUALITY, FOR_ENTROPY, PAIRS, np.full((1, 2), 0.3, np.float32)))
    chance = jax.random.uniform(jax.random.key(1), (1, 2, 120, 2))
    told = juries(*arrays, chance, jnp.ones(1), noise="guess", levels=LEVELS)
    assert set(told) == {"correlation", "uniform", "encore"}


def test_misreading_judges_keep_their_entropy(study):
    """Half the answers are 1 and half are 0, so flipping changes accuracy and not the distribution."""
    assert abs(study["noise"]["flip"]["correlation"]["mean"][-1]) < 0.7
    assert study["noise"]["flip"]["uniform"]["mean"][-1] < study["noise"]["flip"]["uniform"]["mean"][0]


def test_juries_without_a_correlation_do_not_spoil_the_mean():
    spread = _spread(np.array([[0.5, np.nan, 1.5], [np.nan] * 3]))
    np.testing.assert_array_equal(spread["mean"], [1.0, np.nan])
    np.testing.assert_array_equal(spread["sd"], [0.5, np.nan])
