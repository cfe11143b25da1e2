"""One factor, several camps or nothing: told apart in simulations and on real judges."""

import json

import numpy as np
import pytest

from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.composition.camps import (
    LEAST_LOADING,
    camp_loadings,
    commonality,
    corrected,
    effective_rules_of,
    find_camps,
    number_of_factors,
    varimax,
)
from encore_jax.composition.moments import grouped_moments, rating_rows

N = 1500


def verdict(margins, prompt=None, where=None):
    pairs = np.stack([margins, np.zeros_like(margins)], 1)
    mask = None if where is None else np.stack([where, where], 1)
    return commonality(grouped_moments(rating_rows(pairs, mask, prompt)), draws=50)


def judged(seed, quality, loadings, levels=None):
    """What judges of these loadings say of a quality ``[N]``, rounded to whole numbers if asked."""
    v = np.asarray(loadings)
    ratings = quality[:, None] * v + np.random.default_rng(seed).normal(size=(len(quality), len(v))) * np.sqrt(1 - v**2)
    return ratings if levels is None else np.round(ratings * levels)


GOOD = [0.8, 0.7, 0.7, 0.6, 0.5, 0.4]


@pytest.mark.parametrize("seed", range(2))
def test_rules_about_one_thing_are_one_camp(seed):
    quality = np.random.default_rng(seed).normal(size=N)
    found = verdict(judged(seed + 100, quality, GOOD, levels=2))
    assert found.verdict == "one common factor" and found.camps == (tuple(range(6)),)
    assert (found.low < found.loading).all() and (found.loading < found.high).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("skewed", [False, True])
def test_junk_rules_change_neither_verdict_nor_reward(seed, skewed):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=N)
    good = judged(seed + 100, quality, GOOD, levels=2)
    noise = rng.integers(1, 6, (2, N, 24)) if not skewed else rng.choice(5, (2, N, 24), p=[0.9, 0.06, 0.02, 0.01, 0.01])
    pool = np.concatenate([good, (noise[0] - noise[1]).astype(float)], 1)
    found = verdict(pool)
    assert found.verdict == "one common factor" and set(found.camps[0]) <= set(range(6))

    def accuracy(margins):
        fit = agreement_loadings(np.stack([margins, np.zeros_like(margins)], 1))
        reward = margins @ np.asarray(agreement_weights(fit.loading, fit.spread))
        return np.mean((reward > 0) == (quality > 0))

    assert abs(accuracy(pool) - accuracy(good)) < 0.01


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("nuisance", [0.8, 0.5])
def test_rules_that_share_something_else_are_a_second_camp(seed, nuisance):
    rng = np.random.default_rng(seed)
    quality, length = rng.normal(size=(2, N))
    good, long = judged(seed + 100, quality, GOOD), judged(seed + 200, length, [nuisance] * 24)
    found = verdict(np.concatenate([good, long], 1))
    assert found.verdict == "the pool splits"
    assert found.camps == (tuple(range(6, 30)), tuple(range(6)))
    a, b, between, low, high = found.between[0]
    assert (a, b) == (0, 1) and low <= between <= high < 0.4
    correlation = agreement_loadings(np.concatenate([good, long], 1)).correlation
    together = np.full((30, 30), float(N)) - N * np.eye(30)
    chosen = camp_loadings(correlation, together, found.camps[1])
    np.testing.assert_allclose(np.abs(chosen[:6]), GOOD, atol=0.12)
    assert np.abs(chosen[6:]).max() < 0.15


@pytest.mark.parametrize("turned", [[0], [7, 9], [1, 8, 4]])
def test_rules_that_rate_the_other_way_round_change_no_camp(turned):
    """They follow what their camp follows, with the other sign: of loadings, and of nothing else."""
    rng = np.random.default_rng(5)
    quality, length = rng.normal(size=(2, 600))
    pool = np.concatenate([judged(1, quality, GOOD), judged(2, 0.2 * quality + length, [0.8] * 6)], 1)
    sign = np.ones(12)
    sign[turned] = -1
    found, other = verdict(pool), verdict(pool * sign)
    assert found.verdict == other.verdict == "the pool splits" and found.camps == other.camps
    np.testing.assert_allclose(other.between[0], found.between[0], atol=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_styles_of_judges_inside_one_agreeing_pool_do_no_harm(seed):
    rng = np.random.default_rng(seed)
    quality, styles = rng.normal(size=N), rng.normal(size=(3, N))
    pools = [judged(seed + i, 0.7 * quality + 0.7 * styles[i], [0.7] * 6) for i in range(3)]
    found = verdict(np.concatenate(pools, 1))
    assert found.verdict == "one common factor" and found.factors == 3


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_too_little_to_tell(seed):
    found = verdict(np.random.default_rng(seed).normal(size=(N, 12)))
    assert found.verdict == "too little in common to tell" and not found.camps
    assert found.effective_rules > 11


def test_an_unclear_split_is_not_called_one():
    """With few prompts the interval of the corrected correlation is too wide to say that two camps are apart."""
    rng = np.random.default_rng(0)
    quality, length = rng.normal(size=(2, 40))
    other = 0.45 * quality + 0.9 * length
    found = verdict(np.concatenate([judged(1, quality, [0.9] * 4), judged(2, other, [0.9] * 4)], 1))
    assert found.verdict != "the pool splits" or found.between[0][4] < 0.6


def test_chance_of_more_than_no_factor_is_small():
    """Parallel analysis at 95 %: of 40 pools of noise whose rows come in prompts of ten, few have a factor."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(60, 1, 8)) + 0.5 * rng.normal(size=(60, 10, 8))  # the rows of a prompt are alike
        rows = rating_rows(noise.reshape(600, 8), None, np.repeat(np.arange(60), 10))
        found.append(number_of_factors(grouped_moments(rows)))
    assert sum(number > 0 for number in found) <= 6


def test_a_pool_of_several_factors_has_that_many():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, N))
    ratings = np.concatenate([judged(i, factors[i], [0.8, 0.7, 0.6, 0.7]) for i in range(3)], 1)
    assert number_of_factors(grouped_moments(rating_rows(ratings))) == 3
    correlation = agreement_loadings(ratings).correlation
    assert find_camps(correlation, 3) == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))


@pytest.mark.parametrize("share", [1.05, 0.95])
def test_a_camp_is_one_as_soon_as_its_rules_load_enough(share):
    """Rules of equal loading v correlate by v²; what they share with each other is all that a factor explains."""
    strong, weak = 0.6, share * LEAST_LOADING
    correlation = np.zeros((5, 5))
    correlation[:3, :3], correlation[3:, 3:] = strong**2, weak**2
    np.fill_diagonal(correlation, 0)
    assert find_camps(correlation, 2) == (((0, 1, 2), (3, 4)) if share > 1 else ((0, 1, 2),))


def test_missing_ratings_that_depend_on_others_make_no_factor():
    """Independent rules far from 0, each unrated more often where another is high: their means differ by pair."""
    rng = np.random.default_rng(3)
    ratings = rng.normal(size=(N, 8)) + np.linspace(-5, 5, 8)
    where = rng.random((N, 8)) > 0.4 * (1 + np.tanh(2 * np.roll(ratings - ratings.mean(0), 1, axis=1)))
    assert number_of_factors(grouped_moments(rating_rows(ratings, where))) == 0


def test_varimax_finds_the_simple_structure_again():
    rng = np.random.default_rng(0)
    simple = np.zeros((9, 3))
    simple[np.arange(9), np.arange(9) // 3] = rng.uniform(0.4, 0.9, 9)
    turned = simple @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    found = np.abs(varimax(turned))
    order = found[[0, 3, 6]].argmax(1)
    np.testing.assert_allclose(found[:, order], simple, atol=1e-4)


def test_corrected_correlation_undoes_the_noise_of_single_rules():
    v, between = np.array([0.9, 0.5, 0.7, 0.3, 0.6]), 0.25
    correlation = np.outer(v, v)
    correlation[:2, 2:] *= between
    correlation[2:, :2] *= between
    np.fill_diagonal(correlation, 0)
    one, other = (0, 1), (2, 3, 4)
    # Camps of rules of equal loading are corrected exactly; others by means, which is close.
    assert abs(corrected(correlation, one, other, (np.ones(2), np.ones(3))) - between) < 0.02
    flat = np.where(np.eye(4, dtype=bool), 0, 0.5)
    flat[:2, 2:] = flat[2:, :2] = 0.5 * between
    assert corrected(flat, (0, 1), (2, 3), (np.ones(2), np.ones(2))) == pytest.approx(between)
    assert corrected(-flat, (0, 1), (2, 3), (np.ones(2), np.ones(2))) == 0


def test_effective_number_of_rules():
    assert effective_rules_of(np.zeros((7, 7))) == 7
    assert effective_rules_of(1 - np.eye(7)) == pytest.approx(1)


def test_intervals_cover_the_true_loading():
    true, covered = np.array(GOOD), []
    for seed in range(16):
        quality = np.random.default_rng(seed).normal(size=400)
        found = commonality(grouped_moments(rating_rows(judged(seed + 100, quality, GOOD))), draws=100, seed=seed)
        covered.append((found.low <= true) & (true <= found.high))
    assert 0.86 <= np.mean(covered) <= 0.995


def test_real_judges_are_told_apart(shared_data):
    """HANNA's judges (human-rated stories) agree on one thing; LLMBar's ChatGPT and GPT-4 prompts do not."""
    stories = np.load(shared_data / "hanna" / "hanna.npz")
    ratings, prompts = np.clip(stories["llm"], 1, 5), stories["llm"].shape[1]
    margins, prompt = [], []
    for a in range(11):
        for b in range(a):
            margins.append(ratings[a] - ratings[b])
            prompt.append(np.arange(prompts))
    hanna = verdict(np.concatenate(margins), np.concatenate(prompt))
    assert hanna.verdict == "one common factor" and len(hanna.camps[0]) > 100

    rows = [json.loads(line) for line in (shared_data / "llmbar-rating" / "ratings.jsonl").read_text().splitlines()]
    margins = np.array([[_gap(*both) for both in zip(row["chosen"], row["rejected"], strict=True)] for row in rows])
    llmbar = verdict(np.nan_to_num(margins), where=~np.isnan(margins))
    assert llmbar.verdict == "the pool splits" and llmbar.camps == ((2, 3, 4, 5, 6), (0, 1))


def _gap(chosen, rejected):
    return np.nan if chosen is None or rejected is None else chosen - rejected


@pytest.mark.parametrize("why", ["constant", "unrated"])
def test_two_rules_that_say_anything_are_too_few(why):
    """Two rules' loadings cannot be told apart: only their product is known."""
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(400, 2, 1)) + 0.5 * rng.normal(size=(400, 2, 5))
    mask = np.ones(ratings.shape, bool)
    if why == "constant":
        ratings[..., 2:] = 3.0
    else:
        mask[..., 2:] = False
    found = commonality(grouped_moments(rating_rows(np.where(mask, ratings, 0), mask, np.arange(400)), 0), draws=20)
    assert found.verdict == "too little in common to tell" and not found.camps
    assert 1 < found.effective_rules < 2, "those that say nothing do not count"
