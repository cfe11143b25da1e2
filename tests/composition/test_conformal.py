"""Conformal intervals hold what they promise where prompts are exchangeable, and say where they cannot."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from encore_jax.composition.conformal import (
    BAND_PROMPTS,
    conformal_bands,
    conformal_radius,
    fewest_prompts,
)
from encore_jax.errors import InputError

CASES = 2000


def within(hits: int, cases: int, low: float, high: float) -> bool:
    """Whether so many hits are no surprise (1 in 10,000) for some probability from low to high."""
    return binom.sf(hits - 1, cases, high) > 1e-4 and binom.cdf(hits, cases, low) > 1e-4


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("prompts", [20, 57, 200])
def test_one_response_a_prompt_is_the_usual_split_conformal_quantile(coverage, prompts):
    errors = np.random.default_rng(prompts).standard_cauchy(prompts)
    rank = math.ceil(round((prompts + 1) * coverage, 9))
    expected = np.sort(np.abs(errors))[rank - 1] if rank <= prompts else np.inf
    assert conformal_radius(errors, np.arange(prompts), coverage) == expected


@pytest.mark.parametrize("prompts", [9, 15, 40])
def test_coverage_is_exact_for_exchangeable_responses(prompts):
    """Between c and c + 1/(P + 1), whatever the distribution: here one without a mean."""
    rng = np.random.default_rng(prompts)
    errors = rng.standard_cauchy((CASES, prompts + 1))
    hits = sum(abs(row[-1]) <= conformal_radius(row[:-1], np.arange(prompts)) for row in errors)
    assert within(hits, CASES, 0.9, 0.9 + 1 / (prompts + 1))


def clustered(rng, prompts):
    """Errors that prompts share, larger where a prompt has many responses; and their prompts."""
    sizes = np.where(rng.random(prompts) < 0.3, 20, 1)
    spread = np.where(sizes == 20, 0.3, 1.0) * (1 + rng.exponential(size=prompts))
    prompt = np.repeat(np.arange(prompts), sizes)
    return spread[prompt] * (rng.normal(size=prompts)[prompt] + 0.3 * rng.normal(size=len(prompt))), prompt


def test_coverage_holds_for_a_response_to_a_new_prompt_where_pooled_responses_fail():
    rng, pooled, ours = np.random.default_rng(0), 0, 0
    for _ in range(CASES):
        errors, prompt = clustered(rng, 41)
        new = rng.choice(np.flatnonzero(prompt == 40))
        old = prompt < 40
        ours += abs(errors[new]) <= conformal_radius(errors[old], prompt[old])
        pooled += abs(errors[new]) <= conformal_radius(errors[old], np.arange(old.sum()))
    assert within(ours, CASES, 0.9, 0.9 + 2 / 41)
    assert not within(pooled, CASES, 0.9, 1.0)


def test_a_prompts_responses_count_as_one_prompt():
    rng = np.random.default_rng(1)
    errors, prompt = rng.normal(size=30), np.arange(30)
    repeated = conformal_radius(np.repeat(errors, 7), np.repeat(prompt, 7))
    assert repeated == conformal_radius(errors, prompt)
    order = rng.permutation(30)
    assert conformal_radius(-errors[order], 100 - prompt[order]) == conformal_radius(errors, prompt)


def test_too_few_prompts_have_no_finite_radius():
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
        fewest = fewest_prompts(coverage)
        errors = np.arange(1, fewest + 1) / fewest
        assert conformal_radius(errors, np.arange(fewest), coverage) == 1.0
        assert conformal_radius(errors[1:], np.arange(fewest - 1), coverage) == np.inf
    assert conformal_radius(np.ones(500), np.zeros(500)) == np.inf  # one prompt, however many responses
    assert conformal_radius(np.full(20, np.nan), np.arange(20)) == np.inf


def test_missing_ratings_are_left_out_and_nothing_else_is():
    rng = np.random.default_rng(2)
    errors, prompt = rng.normal(size=60), np.repeat(np.arange(20), 3)
    missing = rng.random(60) < 0.4
    with_nan = conformal_radius(np.where(missing, np.nan, errors), prompt)
    assert with_nan == conformal_radius(errors[~missing], prompt[~missing])
    with pytest.raises(InputError, match="infinite"):
        conformal_radius(np.full(20, np.inf), np.arange(20))


def test_each_band_of_scores_has_the_promised_coverage_where_one_radius_has_not():
    rng, hits, plain, cases = np.random.default_rng(3), np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(CASES // 2):
        scores = rng.random(241)
        errors = rng.normal(size=241) * np.where(scores < 0.5, 0.05, 1.0)
        bands = conformal_bands(scores[:-1], errors[:-1], np.arange(240))
        half = int(scores[-1] >= 0.5)
        hits[half] += abs(errors[-1]) <= bands.at(scores[-1:])[0]
        plain[half] += abs(errors[-1]) <= conformal_radius(errors[:-1], np.arange(240))
        cases[half] += 1
    assert len(bands.radius) == 4
    for half in (0, 1):
        assert within(hits[half], cases[half], 0.885, 0.93)
    assert plain[0] == cases[0] and plain[1] / cases[1] < 0.85


def test_bands_need_enough_prompts_and_equal_scores_share_one():
    rng = np.random.default_rng(4)
    for prompts, most in ((BAND_PROMPTS * 2 - 1, 1), (BAND_PROMPTS * 2, 2), (BAND_PROMPTS * 9, 4)):
        bands = conformal_bands(rng.random(prompts), rng.normal(size=prompts), np.arange(prompts))
        assert len(bands.radius) == most == len(bands.edges) + 1
    equal = conformal_bands(np.ones(400), rng.normal(size=400), np.arange(400))
    assert len(equal.radius) == 1
    one_prompt = conformal_bands(rng.random(400), rng.normal(size=400), np.zeros(400))
    assert one_prompt.radius.tolist() == [np.inf]
    bands = conformal_bands(rng.random(400), rng.normal(size=400), np.arange(400))
    at = bands.at(np.array([[-9.0, 9.0], [0.5, np.nan]]))
    assert at.shape == (2, 2) and np.isnan(at[1, 1]) and np.isfinite(at.flat[:3]).all()


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1e-9, 0.9995, 90, np.nan, "0.9", None, True])
def test_a_coverage_that_is_none_is_refused(bad):
    with pytest.raises(InputError, match="from 0.001 to 0.999"):
        conformal_radius(np.ones(20), np.arange(20), bad)
    with pytest.raises(InputError, match="from 0.001 to 0.999"):
        fewest_prompts(bad)


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\)"):
        conformal_radius(np.ones(3), np.arange(2))
    with pytest.raises(InputError, match=r"scores"):
        conformal_bands(np.ones(3), np.ones(2), np.arange(2))
