"""The premise check: its numbers against NumPy, its verdicts on data made to deserve them."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition.settings import CompositionSettings
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.premise import Interval, _judge, bootstrap_accuracy, bootstrap_correlation, check_premise
from encore_jax.evaluation.view import Pairs
from tests.evaluation import views
from tests.evaluation.test_bootstrap import draws

pytestmark = pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
SETTINGS, KEY, REPLICATES = CompositionSettings(), jax.random.key(0), 64
VIEW = views.view()
NO_GAIN = Interval(0.0, -0.1, 0.1)


def check(view, settings=SETTINGS, gain=NO_GAIN):
    return check_premise(view, settings, settings.entropy(view.ratings, view.rated), gain, KEY, REPLICATES)


def jury(reverse=False, judges=8, prompts=400):
    """Judges of rising unreliability on one grid of 11 levels.

    Those who do not know guess any level, which smears clear answers; with `reverse` they take the middle, which piles
    up answers that were spread evenly.
    """
    rng = np.random.default_rng(0)
    guess = np.linspace(0.05, 0.95, judges)

    def rate(truth):
        unsure = rng.random((*truth.shape, judges)) < guess
        noise = np.full(unsure.shape, 0.5) if reverse else rng.integers(0, 11, unsure.shape) / 10
        return np.where(unsure, noise, truth[..., None]).astype(np.float32)

    levels = rng.integers(0, 11, (3, prompts)) / 10 if reverse else rng.integers(0, 2, (3, prompts)).astype(float)
    better, worse = np.maximum(*levels[:2]), np.minimum(*levels[:2])
    keep = better > worse
    scores = rate(np.stack([better, worse], 1)[keep])
    n = len(scores)
    test = Pairs(scores, np.zeros(n, int), np.arange(n, dtype=np.int32), np.full(n, "all"))
    ratings = rate(levels[2])
    return dataclasses.replace(
        VIEW,
        rules=tuple(f"judge_{k}" for k in range(judges)),
        ratings=ratings,
        rated=np.ones_like(ratings, bool),
        rating_cluster=np.arange(prompts, dtype=np.int32),
        train=test,
        test=test,
        heuristics={},
    )


def test_numbers_equal_numpy():
    premise = check(VIEW)
    entropy = SETTINGS.entropy(VIEW.ratings, VIEW.rated)
    first = VIEW.test.first_preferred
    accuracy = ((first[:, 0] > first[:, 1]) + 0.5 * (first[:, 0] == first[:, 1])).mean(0)
    expected = scipy.stats.pearsonr(entropy, accuracy)
    assert premise.r == pytest.approx(expected.statistic, abs=1e-5) and premise.rules == 4
    assert premise.fisher == pytest.approx(tuple(expected.confidence_interval()), abs=1e-4)
    for k, name in enumerate(VIEW.rules):
        others = np.arange(4) != k
        r = np.corrcoef(entropy[others], accuracy[others])[0, 1]
        assert premise.leave_one_out[name] == pytest.approx(r, abs=1e-4)
    weights = np.exp(-entropy / 2) / np.exp(-entropy / 2).sum()
    assert premise.weight_ratio == pytest.approx(weights.max() / weights.min(), rel=1e-5)
    assert premise.effective_rules == pytest.approx(np.exp(scipy.stats.entropy(weights)), rel=1e-5)
    assert premise.distance_from_uniform == pytest.approx(np.abs(weights - 0.25).sum() / 2, rel=1e-4)
    sizes = {name: len(np.unique(VIEW.ratings[VIEW.rated[:, k], k])) for k, name in enumerate(VIEW.rules)}
    assert premise.grid_sizes == sizes


def test_ties_are_told_apart_from_errors():
    """r under every policy, and with the tie rate, equal NumPy's; the reasons say so where there are ties."""
    coarse = np.round(VIEW.test.scores * np.array([1.0, 2.0, 4.0, 8.0])) / np.array([1.0, 2.0, 4.0, 8.0])
    test = dataclasses.replace(VIEW.test, scores=coarse.astype(np.float32))
    view = dataclasses.replace(VIEW, test=test)
    premise, entropy = check(view), SETTINGS.entropy(view.ratings, view.rated)
    first = view.test.first_preferred
    right, tied = first[:, 0] > first[:, 1], first[:, 0] == first[:, 1]
    accuracy = {
        "half": (right + tied / 2).mean(0),
        "wrong": right.mean(0),
        "decided": right.sum(0) / (~tied).sum(0),
    }
    for name, value in accuracy.items():
        assert premise.policies[name][0] == pytest.approx(np.corrcoef(entropy, value)[0, 1], abs=1e-4)
        assert premise.policies[name][1] < premise.policies[name][0] < premise.policies[name][2]
    assert premise.tie_rate == pytest.approx(tied.mean()) and premise.tie_rate > 0.05
    assert premise.r_tie_rate == pytest.approx(np.corrcoef(entropy, tied.mean(0))[0, 1], abs=1e-4)
    assert any(f"r(entropy, tie rate) = {premise.r_tie_rate:+.2f}" in reason for reason in premise.reasons)
    assert any(f"Rules tie on {100 * tied.mean():.1f} % of the comparisons" in reason for reason in premise.reasons)
    without = premise.leave_one_out.values()
    said = f"Leaving one rule out moves r between {min(without):+.2f} (without "
    assert any(said in reason and f" and {max(without):+.2f} (without " in reason for reason in premise.reasons)


def uneven():
    """A view whose rules differ in how many levels they use, and in how many ratings they have."""
    rng = np.random.default_rng(8)
    chosen = [np.arange(11), np.arange(0, 11, 2), np.array([1, 4, 5, 9]), np.array([0, 3, 10])]
    ratings = np.stack([rng.choice(c, 200, p=rng.dirichlet(np.ones(len(c)))) for c in chosen], 1) / 10
    rated = rng.random(ratings.shape) < [0.9, 0.2, 0.6, 0.1]
    return dataclasses.replace(VIEW, ratings=np.where(rated, ratings, 0).astype(np.float32), rated=rated)


def kernel_entropy(values):
    """By SciPy's kernel density on a fine grid."""
    density, grid = scipy.stats.gaussian_kde(values, "scott"), np.linspace(-3, 4, 20_001)
    p = density(grid)
    return -np.trapezoid(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), grid)


def test_every_variant_measures_entropy_in_its_own_way():
    """Each against SciPy's entropy of plain counts or of its kernel density; intervals by Fisher's transformation."""
    view = uneven()
    variants = check(view).variants
    values = [np.round(view.ratings[view.rated[:, k], k].astype(np.float64), 6) for k in range(4)]

    def counts(levels):
        return [np.bincount(np.floor(v * (levels - 1) + 0.5 + 1e-6).astype(int), minlength=levels) for v in values]

    plain = [np.array([scipy.stats.entropy(c) for c in counts(levels)]) for levels in (11, 5, 2)]
    used = np.array([(c > 0).sum() for c in counts(11)])
    corrected = plain[0] + (used - 1) / (2 * view.rated.sum(0))
    expected = {
        "as configured": plain[0],
        "each rule's own levels (H / log m)": plain[0] / np.log(used),
        "5 levels": plain[1],
        "2 levels": plain[2],
        "bias-corrected": corrected,
        "differential (KDE)": np.array([kernel_entropy(v) for v in values]),
    }
    assert variants.keys() == expected.keys()
    first = view.test.first_preferred
    accuracy = ((first[:, 0] > first[:, 1]) + 0.5 * (first[:, 0] == first[:, 1])).mean(0)
    for name, entropy in expected.items():
        reference = scipy.stats.pearsonr(entropy, accuracy)
        interval = reference.confidence_interval()
        wanted = (reference.statistic, interval.low, interval.high)
        np.testing.assert_allclose(variants[name], wanted, atol=2e-3, err_msg=name)
    found = [round(r, 2) for r, _, _ in variants.values()]
    assert len(set(found)) >= 5, "a variant that measures what another does would not be noticed"


def test_bootstrap_equals_a_loop_over_the_same_draws():
    rating_key, test_key = jax.random.split(KEY)
    prompts, test_prompts = np.unique(VIEW.rating_cluster), np.unique(VIEW.test.cluster)
    first = VIEW.test.first_preferred
    credit = (first[:, 0] > first[:, 1]) + 0.5 * (first[:, 0] == first[:, 1])
    got = bootstrap_correlation(VIEW, SETTINGS, KEY, REPLICATES)
    accuracies = np.asarray(bootstrap_accuracy(VIEW.test, test_key, REPLICATES))
    chosen = zip(
        draws(rating_key, REPLICATES, len(prompts)), draws(test_key, REPLICATES, len(test_prompts)), strict=True
    )
    for replicate, (rating_draw, test_draw) in enumerate(chosen):
        rows = np.concatenate([np.flatnonzero(VIEW.rating_cluster == prompts[g]) for g in rating_draw])
        entropy = SETTINGS.entropy(VIEW.ratings[rows], VIEW.rated[rows])
        pairs = np.concatenate([np.flatnonzero(VIEW.test.cluster == test_prompts[g]) for g in test_draw])
        accuracy = credit[pairs].mean(0)
        np.testing.assert_allclose(accuracies[replicate], accuracy, rtol=1e-5)
        np.testing.assert_allclose(got[replicate], np.corrcoef(entropy, accuracy)[0, 1], atol=1e-3)
        if replicate == 9:  # ten replicates, one eager composition each, are enough
            break


def test_interval_over_prompts_is_that_of_the_replicates():
    samples = bootstrap_correlation(VIEW, SETTINGS, KEY, REPLICATES)
    assert check(VIEW).bootstrap == pytest.approx(tuple(map(float, percentile_interval(samples))))


def test_it_holds_where_uncertain_judges_err():
    premise = check(jury())
    assert premise.verdict == "holds" and premise.r < -0.8
    assert premise.fisher[1] < 0 and premise.bootstrap[1] < 0


def test_it_does_not_hold_where_certain_judges_err():
    premise = check(jury(reverse=True))
    assert premise.verdict == "does not hold" and premise.r > 0.9


def test_it_does_not_hold_where_encore_surely_loses():
    few = check(views.view(rules=3), gain=Interval(-0.2, -0.3, -0.1))
    assert few.fisher == (-1.0, 1.0) and few.verdict == "does not hold"


def test_it_cannot_be_told_with_three_rules():
    assert check(views.view(rules=3)).verdict == "cannot tell at this size"


YES, NO, WHO_KNOWS = "holds", "does not hold", "cannot tell at this size"


@pytest.mark.parametrize(
    ("fisher", "bootstrap", "gain", "verdict"),
    [
        ((-0.9, -0.1), (-0.8, -0.2), (-0.1, 0.1), YES),
        ((-0.9, -0.1), (-0.8, -0.2), (-0.3, -0.1), YES),
        ((-0.9, -0.1), (-0.8, 0.1), (-0.1, 0.1), WHO_KNOWS),
        ((-0.9, 0.1), (-0.8, -0.2), (-0.1, 0.1), WHO_KNOWS),
        ((-0.9, 0.0), (-0.8, -0.2), (-0.1, 0.1), WHO_KNOWS),
        ((0.1, 0.9), (-0.2, 0.8), (-0.1, 0.1), NO),
        ((-0.1, 0.9), (0.2, 0.8), (-0.1, 0.1), NO),
        ((0.0, 0.9), (0.0, 0.8), (-0.1, 0.1), WHO_KNOWS),
        ((-0.5, 0.5), (-0.5, 0.5), (-0.3, -0.1), NO),
        ((-0.5, 0.5), (-0.5, 0.5), (-0.3, 0.0), WHO_KNOWS),
        ((-0.5, 0.5), (-0.5, 0.5), (0.1, 0.3), WHO_KNOWS),
    ],
)
def test_a_verdict_needs_both_intervals_or_a_sure_loss(fisher, bootstrap, gain, verdict, premise):
    facts = vars(premise) | {"fisher": fisher, "bootstrap": bootstrap, "gain": Interval(0.0, *gain)}
    assert _judge(facts, VIEW, "held-out prompts")[0] == verdict


@pytest.fixture(scope="module")
def premise():
    return check(VIEW)


def test_one_rule_says_nothing_and_breaks_nothing():
    premise = check(views.view(rules=1))
    assert premise.verdict == "cannot tell at this size"
    assert np.isnan(premise.r) and np.isnan(premise.fisher).all() and np.isnan(premise.bootstrap).all()


def test_rules_of_equal_accuracy_have_no_correlation():
    scores = np.repeat(VIEW.test.scores[..., :1], 4, -1)
    premise = check(dataclasses.replace(VIEW, test=dataclasses.replace(VIEW.test, scores=scores)))
    assert np.isnan(premise.r) and np.isnan(premise.bootstrap).all()
    assert premise.verdict == "cannot tell at this size"
    assert "is not defined over" in premise.reasons[0] and not any("nan" in reason for reason in premise.reasons)


def test_different_grids_are_named_as_a_cause():
    coarse = VIEW.ratings.copy()
    coarse[:, 0] = coarse[:, 0].round()
    reasons = " ".join(check(dataclasses.replace(VIEW, ratings=coarse)).reasons)
    assert "grids of 2 to 5 levels" in reasons
    assert "grids of" not in " ".join(check(VIEW).reasons)


def test_the_reasons_say_the_numbers():
    premise = check(VIEW, gain=Interval(0.012, -0.03, 0.05))
    text = " ".join(premise.reasons)
    assert f"r(entropy, accuracy) = {premise.r:+.2f} over 4 rules" in text
    assert "+1.2 points, 95 % interval [-3.0, +5.0]" in text and "80 held-out comparisons" in text
    assert f"largest ratio is {premise.weight_ratio:.2f}" in text


def test_the_bootstrap_measures_the_configured_entropy():
    normalised = dataclasses.replace(SETTINGS, normalize="observed")
    coarse = VIEW.ratings.copy()
    coarse[:, 0] = coarse[:, 0].round()
    view = dataclasses.replace(VIEW, ratings=coarse)
    plain, shares = (bootstrap_correlation(view, s, KEY, REPLICATES) for s in (SETTINGS, normalised))
    assert np.nanmedian(np.abs(plain - shares)) > 0.05
