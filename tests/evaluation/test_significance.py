"""Paired tests and corrections against statsmodels, and power against simulation."""

import itertools
import math

import jax
import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from encore_jax.errors import InputError
from encore_jax.evaluation.significance import (
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


@pytest.mark.parametrize("draws", [99, 4000])
def test_no_p_is_zero(draws):
    """The outcome itself is one of the possible ones: the smallest p is 1 / (draws + 1)."""
    sums = np.stack([np.ones(60), np.linspace(1, 3, 60)], 1).astype(np.float32)
    np.testing.assert_allclose(prompt_test(sums, jax.random.key(0), draws), 1 / (draws + 1), rtol=1e-9)
    assert 0 < mcnemar(0, 60).p == pytest.approx(2.0**-59) and mcnemar(0, 900, exact=False).p > 0
    assert prompt_test(-sums, jax.random.key(0), draws) == pytest.approx(prompt_test(sums, jax.random.key(0), draws))


def test_the_number_needed_is_connors():
    """By the published formula in exact arithmetic of its quantiles; table values of Connor (1987) are of this form."""
    z = {0.8: 0.8416212335729143, 0.9: 1.2815515655446004, 0.975: 1.959963984540054, 0.995: 2.5758293035489004}
    for psi, delta, level, power in [(0.1, 0.01, 0.05, 0.8), (0.3, 0.05, 0.05, 0.9), (0.2, 0.2, 0.01, 0.8)]:
        root = z[1 - level / 2] * psi**0.5 + z[power] * (psi - delta**2) ** 0.5
        found = comparisons_needed(psi, delta, level=level, power=power)
        assert found == pytest.approx(root**2 / delta**2, rel=1e-9)
        assert comparisons_needed(psi, delta, level=level, power=power, design=2.5) == pytest.approx(2.5 * found)
    assert comparisons_needed(0.0099) == math.inf > comparisons_needed(0.01)
    for bad in (dict(level=0.0), dict(level=1.0), dict(power=0.0), dict(power=1.0), dict(difference=-0.1)):
        with pytest.raises(InputError, match="comparisons_needed"):
            comparisons_needed(0.1, **bad)


def test_the_design_effect_is_that_of_its_definition():
    """Variance of the mean with prompts drawn whole, over that with comparisons drawn one by one."""
    rng = np.random.default_rng(2)
    difference, cluster = rng.choice([-1.0, 0.0, 0.5, 1.0], 60), rng.integers(0, 9, 60) * 5
    centred = difference - difference.mean()
    sums = [centred[cluster == prompt].sum() for prompt in np.unique(cluster)]
    assert design_effect(difference, cluster) == pytest.approx(np.square(sums).sum() / np.square(centred).sum())
