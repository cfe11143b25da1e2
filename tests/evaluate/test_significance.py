"""Paired tests and corrections against statsmodels, and power against simulation."""

import itertools
import math

import jax
import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from encore_jax.errors import InputError
from encore_jax.evaluate.significance import (
    benjamini_hochberg,
    comparisons_needed,
    design_effect,
    holm,
    mcnemar,
    prompt_test,
)


@pytest.mark.parametrize(("exact", "continuity"), [(True, True), (False, True), (False, False)])
def test_mcnemar_is_that_of_statsmodels(exact, continuity):
    rng = np.random.default_rng(0)
    pairs = [(0, 1), (1, 0), (3, 3), (900, 1100), *rng.integers(1, 300, (40, 2)).tolist()]
    for better, worse in pairs:
        if better == worse and continuity and not exact:
            assert mcnemar(better, worse, exact=False).p == 1.0  # statsmodels corrects a difference of 0 up to 1
            continue
        expected = reference_mcnemar([[5, better], [worse, 9]], exact=exact, correction=continuity)
        found = mcnemar(better, worse, exact=exact, continuity=continuity)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-8)
        assert found.statistic == pytest.approx(expected.statistic)


def test_mcnemar_without_discordant_comparisons_finds_nothing():
    assert mcnemar(0, 0).p == mcnemar(0, 0, exact=False).p == 1.0
    with pytest.raises(InputError, match="not negative"):
        mcnemar(-1, 3)


def test_corrections_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    for size in (1, 2, 17, 60):
        p = np.round(rng.random(size) ** 2, 2)  # with equal values
        for adjust, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
            np.testing.assert_allclose(adjust(p), multipletests(p, method=method)[1], rtol=1e-12)


def test_corrections_leave_out_what_is_not_known():
    p = np.array([0.02, np.nan, 0.04])
    np.testing.assert_allclose(holm(p), [0.04, np.nan, 0.04])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.04, np.nan, 0.04])


def test_the_prompt_test_is_that_of_all_sign_flips():
    sums = np.array([[2.0, 0.0], [1.0, 1.0], [3.0, -1.0], [-1.0, 0.0], [2.0, 1.0], [1.0, 0.0]], np.float32)
    flips = np.array(list(itertools.product((1, -1), repeat=6)))
    exact = (np.abs(flips @ sums) >= np.abs(sums.sum(0)) - 1e-6).mean(0)
    np.testing.assert_allclose(prompt_test(sums, jax.random.key(0), 20_000), exact, atol=0.015)


def test_the_prompt_test_does_not_take_copies_of_a_prompt_for_evidence():
    one_prompt_many_times = np.array([[40.0]], np.float32)
    assert prompt_test(one_prompt_many_times, jax.random.key(0))[0] == 1.0
    assert mcnemar(40, 0).p < 1e-9


def test_power_is_what_was_asked_for():
    discordance, difference, rng = 0.2, 0.06, np.random.default_rng(0)
    n = round(comparisons_needed(discordance, difference))
    better, worse, _ = rng.multinomial(n, [0.13, 0.07, 0.8], 4000).T
    detected = np.array(
        [mcnemar(int(b), int(w), exact=False, continuity=False).p < 0.05 for b, w in zip(better, worse, strict=True)]
    )
    assert detected.mean() == pytest.approx(0.8, abs=0.03)


def test_what_cannot_be_seen_needs_infinitely_many():
    assert comparisons_needed(0.005) == math.inf
    assert comparisons_needed(0.1, design=3.0) == pytest.approx(3 * comparisons_needed(0.1))
    with pytest.raises(InputError):
        comparisons_needed(0.1, 0.0)


def test_the_design_effect_is_the_size_of_clusters_that_agree():
    rng = np.random.default_rng(0)
    difference = rng.choice([-1.0, 0.0, 1.0], 500)
    assert design_effect(difference, np.arange(500)) == pytest.approx(1.0)
    assert design_effect(np.repeat(difference, 4), np.repeat(np.arange(500), 4)) == pytest.approx(4.0)
    assert design_effect(np.zeros(5), np.zeros(5)) == 1.0
