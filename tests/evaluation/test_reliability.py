"""Reliability: what is said of rules and pools, with no label, few and many, against independent counts."""

import numpy as np
import pytest
import scipy.stats

from encore_jax.errors import InputError
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import reliability
from encore_jax.evaluation.rule_reliability import common_entropy, wilson_interval

N = 600
GOOD = [0.8, 0.7, 0.7, 0.6, 0.5, 0.4]


def pool(seed, loadings, factor=None, n=N):
    """Ratings 1 to 5 of n comparisons by rules that follow a quality, and which response is better."""
    rng = np.random.default_rng(seed)
    quality, v = rng.normal(size=(n, 2, 1)) if factor is None else factor, np.asarray(loadings)
    raw = quality * v + rng.normal(size=(n, 2, len(v))) * np.sqrt(1 - v**2)
    return np.clip(np.round(3 + 1.2 * raw), 1, 5), (quality[:, 1, 0] > quality[:, 0, 0]).astype(int), quality


def named(found):
    return {line.rule: line for line in found.rules}


def test_rules_are_described_as_counted_by_hand():
    ratings, preferred, _ = pool(0, GOOD)
    where = np.random.default_rng(1).random(ratings.shape) < 0.9
    found = reliability(ratings, preferred, where=where, rules=list("abcdef"), draws=50)
    both = where.all(1)
    for k, line in enumerate(found.rules):
        rows = both[:, k]
        gap = (ratings[:, 0, k] - ratings[:, 1, k])[rows] * np.where(preferred == 0, 1, -1)[rows]
        assert (line.n, line.labels, line.levels) == (
            rows.sum(),
            rows.sum(),
            len(np.unique(ratings[..., k][where[..., k]])),
        )
        assert line.tie_rate == pytest.approx((gap == 0).mean())
        assert line.half == pytest.approx((gap > 0).mean() + (gap == 0).mean() / 2)
        assert line.wrong == pytest.approx((gap > 0).mean())
        assert line.decided == pytest.approx((gap > 0).sum() / (gap != 0).sum())
        counts = np.unique(ratings[..., k][where[..., k]], return_counts=True)[1]
        assert line.entropy == pytest.approx(scipy.stats.entropy(counts), abs=1e-4)
        assert line.low < line.accuracy == line.half < line.high


def test_with_one_common_factor_agreement_is_recommended_and_junk_gets_little():
    ratings, preferred, _ = pool(0, [*GOOD, 0.0, 0.0])
    found = reliability(ratings, preferred, draws=50)
    assert found.common.verdict == "one common factor" and found.recommended == "agreement"
    assert found.weights["agreement"][6:].sum() < 0.05
    assert found.accuracy["agreement"] > found.accuracy["uniform"]
    assert found.foretells["loading"] > 0.9
    said = recommendation(found)
    assert said.startswith("Use agreement weights.") and "one common factor" in said and "600 labels" in said


def test_without_labels_the_same_weights_and_which_comparisons_to_label():
    ratings, preferred, _ = pool(0, GOOD)
    found, labelled = reliability(ratings, draws=50), reliability(ratings, preferred, draws=50)
    np.testing.assert_array_equal(found.weights["agreement"], labelled.weights["agreement"])
    assert found.recommended == "agreement" and not found.accuracy and not found.foretells
    assert len(found.label_next) == 20 and all(np.isnan(line.half) for line in found.rules)
    assert "There are no labels." in recommendation(found)


def test_the_order_of_responses_changes_nothing_but_rounding():
    ratings, preferred, _ = pool(3, GOOD)
    swap = np.random.default_rng(0).random(N) < 0.5
    swapped = np.where(swap[:, None, None], ratings[:, ::-1], ratings)
    a = reliability(ratings, preferred, draws=50)
    b = reliability(swapped, np.where(swap, 1 - preferred, preferred), draws=50)
    np.testing.assert_allclose(a.weights["agreement"], b.weights["agreement"], atol=1e-5)
    assert a.accuracy == pytest.approx(b.accuracy)
    assert [line.half for line in a.rules] == pytest.approx([line.half for line in b.rules])


@pytest.fixture(scope="module")
def split():
    """Six rules about quality, twelve about length."""
    good, preferred, _ = pool(0, GOOD)
    long, _, _ = pool(1, [0.7] * 12)
    names = [f"quality {k}" for k in range(6)] + [f"length {k}" for k in range(12)]
    return np.concatenate([good, long], 2), preferred, names


def test_a_split_pool_is_refused_until_something_says_which_camp_is_meant(split):
    ratings, preferred, names = split
    blind = reliability(ratings, rules=names, draws=50)
    assert blind.common.verdict == "the pool splits" and "agreement" not in blind.weights
    assert blind.recommended == "uniform" and blind.camp is None
    said = recommendation(blind)
    assert "agreement weights are refused" in said and "quality 0" in said and "length 0" in said
    assert "name an anchor rule" in said

    anchored = reliability(ratings, rules=names, anchor="quality 2", draws=50)
    assert anchored.common.camps[anchored.camp] == tuple(range(6)) and anchored.recommended == "agreement"
    assert anchored.weights["agreement"][6:].sum() < 0.1

    few = np.full(N, -1)
    few[blind.label_next] = preferred[blind.label_next]
    told = reliability(ratings, few, rules=names, draws=50)
    assert told.camp == anchored.camp and told.camp_probability[told.camp] > 0.95
    np.testing.assert_allclose(told.weights["agreement"], anchored.weights["agreement"])
    assert not set(told.label_next) & set(blind.label_next)


def test_few_labels_give_every_rule_an_estimate_with_an_interval(split):
    ratings, preferred, names = split
    few = np.where(np.arange(N) < 40, preferred, -1)
    found = named(reliability(ratings[..., :6], few, rules=names[:6], draws=50))
    full = named(reliability(ratings[..., :6], preferred, rules=names[:6], draws=50))
    assert all(line.labels == 40 and line.low < line.accuracy < line.high for line in found.values())
    assert sum(found[name].low <= full[name].half <= found[name].high for name in names[:6]) >= 5
    error = [np.mean([(getattr(found[n], of) - full[n].half) ** 2 for n in names[:6]]) for of in ("accuracy", "half")]
    assert error[0] < error[1]


def test_noise_gets_equal_weights():
    rng = np.random.default_rng(0)
    found = reliability(rng.integers(1, 6, (N, 2, 8)), rng.integers(0, 2, N), draws=50)
    assert found.recommended == "uniform" and "agreement" not in found.weights
    assert "too little in common" in recommendation(found)


def test_prompts_widen_intervals():
    """Comparisons of one prompt that are alike are worth one: intervals over prompts are wider."""
    ratings, _, _ = pool(0, GOOD, n=60)
    ratings, prompt = np.repeat(ratings, 10, 0), np.repeat(np.arange(60), 10)
    apart, together = reliability(ratings, draws=100), reliability(ratings, prompt=prompt, draws=100)
    width = [np.mean([line.loading_high - line.loading_low for line in found.rules]) for found in (apart, together)]
    assert width[1] > 2 * width[0]


def test_wilson_interval_equals_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    right, n = np.array([0.0, 3.0, 50.0, 100.0]), np.array([10.0, 10.0, 60.0, 100.0])
    np.testing.assert_allclose(wilson_interval(right, n), proportion_confint(right, n, method="wilson"), atol=1e-9)
    assert np.isnan(wilson_interval(np.zeros(1), np.zeros(1))[0])


def test_entropy_is_on_one_grid_for_all_rules():
    ratings = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])
    np.testing.assert_allclose(common_entropy(ratings, np.ones((4, 2), bool)), np.log([4, 2]), atol=1e-6)
    many = np.random.default_rng(0).random((5000, 2))
    np.testing.assert_allclose(common_entropy(many, np.ones(many.shape, bool)), np.log([11, 11]), atol=0.01)


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((9, 2, 2)),), {}, "got 2 rules; agreement needs at least 3"),
        ((np.ones(9),), {}, r"has shape \(9,\).*pass an array \[N, n, K\]"),
        ((np.ones((9, 1, 3)),), {}, r"ratings: has shape \(9, 1, 3\)"),
        ((np.full((9, 2, 3), NAN),), {}, "not finite"),
        ((np.ones((9, 2, 3)),), {"where": np.zeros((9, 2, 3), bool)}, "nothing is rated"),
        ((np.ones((9, 2, 3)), np.ones(8, int)), {}, "preferred"),
        ((np.ones((9, 2, 3)), np.full(9, 2)), {}, "comparison 0: preferred is 2"),
        ((np.ones((9, 2, 3)),), {"rules": ["a", "a", "b"]}, "2 different names for 3 rules"),
        ((pool(0, GOOD)[0],), {"anchor": "z", "draws": 10}, "there is no rule 'z'"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, options, message):
    with pytest.raises(InputError, match=message):
        reliability(*arguments, **options)


def test_an_anchor_must_agree_with_somebody(split):
    ratings, _, names = split
    coin = np.random.default_rng(9).integers(1, 6, (N, 2, 1))
    with pytest.raises(InputError, match="anchor 'coin': it agrees with no other rule"):
        reliability(np.concatenate([ratings, coin], 2), rules=[*names, "coin"], anchor="coin", draws=20)


@pytest.mark.parametrize("kind", ["constant", "unrated"])
def test_rules_that_say_nothing_are_named_not_guessed(kind):
    ratings, preferred, _ = pool(0, [*GOOD, 0.5])
    where = np.ones(ratings.shape, bool)
    if kind == "constant":
        ratings[..., 6] = 3
    else:
        where[..., 6] = False
    found = reliability(ratings, preferred, where=where, draws=20)
    assert np.isnan(found.rules[6].loading) and found.weights["agreement"][6] == 0
    assert found.recommended == "agreement"


def two_things(seed=3, n=600):
    """One rule about quality and two of its opposite, and four about length; what people prefer."""
    rng = np.random.default_rng(seed)
    quality, length = rng.normal(size=(2, n, 2, 1))
    about_quality = quality * [1, -1, -1] + 0.5 * rng.normal(size=(n, 2, 3))
    ratings = np.concatenate([about_quality, length + 0.5 * rng.normal(size=(n, 2, 4))], -1)
    return ratings, (quality[:, 1, 0] > quality[:, 0, 0]).astype(int)


def test_an_anchor_says_which_way_round_its_camp_is():
    """Most rules of the camp run against the one that is known to be about quality."""
    ratings, preferred = two_things()
    names = ["harmless", "r1", "r2", "l1", "l2", "l3", "l4"]
    found = reliability(ratings, preferred, rules=names, anchor="harmless", draws=50)
    assert found.settled_by == "anchor" and found.weights["agreement"][0] > 0.97
    assert found.accuracy["agreement"] > 0.8 and found.agreement_loading[1] < 0
    against = reliability(ratings, rules=names, anchor="r1", draws=50).weights["agreement"]
    assert against[0] == 0 and against[1:3].sum() > 0.97


def test_labels_say_which_way_round_a_camp_is_before_camps_are_compared():
    ratings, preferred = two_things()
    few, found = np.full(len(preferred), -1), reliability(ratings, draws=50)
    for _ in range(2):  # the first labels say which way round, the next ones which camp
        few[found.label_next] = preferred[found.label_next]
        found = reliability(ratings, few, draws=50)
        assert found.camp is None or 0 in found.common.camps[found.camp]
    for told in (found, reliability(ratings, preferred, draws=50)):
        assert told.settled_by == "labels" and set(told.common.camps[told.camp]) == {0, 1, 2}
        assert told.weights["agreement"][0] > 0.97


@pytest.mark.parametrize("half", [2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_half_of_the_rules_run_against_the_others_nothing_is_guessed(half, seed):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(500, 2, 1))
    ratings = quality * np.repeat([1, -1], half) + 0.7 * rng.normal(size=(500, 2, 2 * half))
    preferred = (quality[:, 1, 0] > quality[:, 0, 0]).astype(int)
    found = reliability(ratings, draws=100)
    assert found.common.verdict == "one common factor" and "agreement" not in found.weights
    assert found.recommended == "uniform" and "refused" in repr(found).splitlines()[0]
    assert found.common.effective_rules < 2, "rules that run the other way say the same"
    few = np.full(len(preferred), -1)
    few[found.label_next] = preferred[found.label_next]
    for told in (reliability(ratings, few, draws=50), reliability(ratings, anchor="rule 0", draws=50)):
        assert told.settled_by in ("labels", "anchor") and (told.agreement_loading[:half] > 0.5).all()
        assert (told.weights["agreement"][half:] == 0).all()
    assert (reliability(ratings, anchor=f"rule {half}", draws=50).weights["agreement"][:half] == 0).all()


def test_rules_that_run_against_the_others_are_named():
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=(500, 2, 1)) * [1, 1, 1, -1] + 0.7 * rng.normal(size=(500, 2, 4))
    first = repr(reliability(ratings, rules=["a", "b", "c", "reckless"], draws=50)).splitlines()[0]
    assert "3 of 4 rules follow one common factor" in first and "reckless runs against it" in first


def test_masked_arrays_are_refused_with_the_way_out():
    ratings = np.random.default_rng(0).random((50, 2, 4))
    masked = np.ma.masked_array(np.where(ratings < 0.2, 99, ratings), ratings < 0.2)
    with pytest.raises(InputError, match=r"masked array.*where=~numpy\.ma\.getmaskarray"):
        reliability(masked, draws=20)
    told = reliability(masked.filled(0), where=~np.ma.getmaskarray(masked), draws=20)
    np.testing.assert_array_equal(
        told.common.loading, reliability(ratings, where=ratings >= 0.2, draws=20).common.loading
    )


@pytest.mark.parametrize(("right", "advised"), [(0.62, "agreement"), (0.3, "uniform")])
def test_agreement_is_not_advised_where_labels_speak_against_it(right, advised):
    """Where the two differ, labels follow agreement, or equal weights, more often."""
    rng = np.random.default_rng(2)
    ratings = rng.normal(size=(400, 2, 1)) * [1, 1, 1, 0] + rng.normal(size=(400, 2, 4)) * [0.7, 0.7, 0.7, 3.0]
    weights = reliability(ratings, draws=20).weights["agreement"]
    theirs, equal = ((ratings[:, 1] - ratings[:, 0]) @ w > 0 for w in (weights, np.full(4, 0.25)))
    told = np.where(rng.random(400) < right, theirs, equal).astype(int)
    few = np.where(np.arange(400) < 60, np.where(theirs == equal, -1, told), -1)
    found = reliability(ratings, few, draws=20)
    assert found.recommended == advised
    if advised == "uniform":
        assert found.better_than_uniform["agreement"] < 0.25


def test_labels_that_say_that_all_is_turned_round_come_first():
    ratings, preferred, _ = pool(3, GOOD[:4])
    found = reliability(-ratings, preferred, draws=20)
    said = recommendation(found)
    assert found.worse_than_chance and found.better_than_chance[found.recommended] < 0.001
    assert said.startswith("Use none of these weightings: by the labels") and "Are the ratings turned round" in said
    assert not reliability(-ratings, draws=20).worse_than_chance, "without labels nobody knows"
    one = reliability(ratings * [-1, -1, -1, 1], preferred, draws=20)  # runs both ways, so that labels turn the factor
    assert not one.worse_than_chance and one.settled_by == "labels" and one.accuracy["agreement"] > 0.6


def test_weight_that_moves_nothing_is_named():
    """A head that has learnt nothing hardly varies: on scores as they are it may have nearly all of the weight."""
    ratings, preferred, _ = pool(4, GOOD[:4])
    found = reliability(ratings * [1.0, 1.0, 1.0, 1e-3], preferred, rules=["a", "b", "c", "idle"], draws=20)
    weights = found.weights["agreement"]
    by_hand = weights * [np.std(x) for x in (ratings * [1.0, 1.0, 1.0, 1e-3])[:, 0].T]
    np.testing.assert_allclose(found.shares("agreement"), by_hand / by_hand.sum(), atol=0.02)
    assert weights[3] > 0.9 and found.shares("agreement")[3] < 0.3
    assert "Much weight that moves little: idle (" in repr(found) and "learnt nothing" in repr(found)
    assert "moves little" not in repr(reliability(ratings, preferred, draws=20)), "on one scale there is none"
    assert found.shares("uniform").sum() == pytest.approx(1) and found.shares("uniform")[3] < 0.001
