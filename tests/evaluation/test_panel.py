"""A panel's statistics, each against an independent reference or a simulation whose truth is known."""

import itertools
import json
import re

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.composition.ties import Margin
from encore_jax.errors import InputError
from encore_jax.evaluation.panel_advice import best_alone, left_out
from encore_jax.evaluation.panel_agreement import effective_judges, pair_table, spearman_brown
from encore_jax.evaluation.panel_judges import accuracies, correlation_of, own_means, weights_without
from encore_jax.evaluation.panel_results import panel_results
from encore_jax.evaluation.panel_variance import one_way, positions, repetitions
from encore_jax.evaluation.rated_pairs import rated_pairs

N, NAMES, RULES = 240, ("ann", "bob", "coin", "dan"), ("safe", "kind", "true")
RNG = np.random.default_rng(7)
QUALITY = RNG.normal(size=(N, 2, 1))
NOISE = np.array([0.6, 1.0, 30.0, 1.0])[:, None, None, None]
RATINGS = QUALITY + NOISE * RNG.normal(size=(4, N, 2, 3))
BEST = QUALITY[..., 0].argmax(1)
MISSING = RNG.random(RATINGS.shape) < 0.1


@pytest.fixture(scope="module")
def found():
    return enc.panel_reliability(RATINGS, BEST, judges=NAMES, rules=RULES, where=~MISSING, draws=60)


def differences():
    """[J, N, K] by hand; NaN where not both responses are rated."""
    values = np.where(MISSING, np.nan, RATINGS)
    return values[:, :, 0] - values[:, :, 1]


def about_zero(a, b):
    """Correlation in both orientations, of what is known of both."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def test_correlations_between_judges_are_those_of_numpy_rule_by_rule(found):
    d = differences()
    by_rule = [[about_zero(d[i, :, k], d[j, :, k]) for i, j in itertools.combinations(range(4), 2)] for k in range(3)]
    np.testing.assert_allclose([line.correlation for line in found.between.rules], np.mean(by_rule, 1), atol=1e-5)
    rho = np.mean(by_rule)
    assert found.between.correlation == pytest.approx(rho, abs=1e-5)
    assert found.effective_judges == pytest.approx(4 / (1 + 3 * rho), abs=1e-4)
    assert found.between.low < rho < found.between.high
    assert found.between.effective_low < found.effective_judges < found.between.effective_high


def test_reliability_of_the_mean_is_the_standardised_alpha():
    """Against the definition: variance of a sum of standardised judges, on data that have this very correlation."""
    x = RNG.normal(size=(5000, 1)) + RNG.normal(size=(5000, 4))
    x = (x - x.mean(0)) / x.std(0)
    alpha = 4 / 3 * (1 - 4 / x.sum(1).var())
    r = (np.corrcoef(x.T).sum() - 4) / 12
    assert spearman_brown(r, 4) == pytest.approx(alpha, abs=1e-9)
    assert spearman_brown(-0.1, 4) == 0 and effective_judges(-0.1, 4) == 4 and np.isnan(effective_judges(np.nan, 4))


def test_a_judges_correlation_with_the_rest_is_that_of_numpy(found):
    d = differences()
    mean = np.nan_to_num(d).mean(2)
    known = np.isfinite(d).any(2)
    mean = np.where(known, mean, np.nan)
    unit = mean / np.sqrt(np.nanmean(mean**2, 1, keepdims=True))
    following = np.array([True, True, False, True])  # coin does not
    for j, line in enumerate(found.judges):
        rest = np.nanmean(unit[following & (np.arange(4) != j)], 0)
        assert line.follows == following[j]
        assert line.rest == pytest.approx(about_zero(unit[j], rest), abs=1e-5) and line.rest_low < line.rest_high
        assert line.n == known[j].sum() and line.missing == pytest.approx(MISSING[j].mean())
        assert line.loading == pytest.approx(found.loading[j].mean())


def test_loadings_are_those_of_the_truth():
    """Difference of two responses: variance 2 of quality, 2 s² of noise, so the loading is 1 / sqrt(1 + s²)."""
    quality = np.random.default_rng(1).normal(size=(6000, 2, 1))
    spread = np.array([0.5, 1.0, 2.0])
    noise = spread[:, None, None, None] * np.random.default_rng(2).normal(size=(3, 6000, 2, 2))
    told = enc.panel_reliability(quality + noise, draws=20)
    expected = 1 / np.sqrt(1 + spread**2)
    np.testing.assert_allclose(told.loading, np.tile(expected[:, None], 2), atol=0.03)
    own = 1 / np.sqrt(1 + spread**2 / 2)  # the mean of two rules has half the noise
    np.testing.assert_allclose([line.own_loading for line in told.judges], own, atol=0.03)
    assert told.columns.common.verdict == "one common factor" and told.split == ""


def test_the_panel_without_a_judge_is_the_panel_of_the_others(found):
    """Leaving one out equals a panel that never had it: the same weights, reward and accuracy."""
    assert found.columns.recommended == "agreement"
    both = pairs(RATINGS, MISSING)
    table = pair_table(both, 4, 60, 0)
    whole = found.weights().ravel()
    d = np.nan_to_num(differences()).transpose(1, 0, 2).reshape(N, -1)
    for j, line in enumerate(found.judges):
        kept = [i for i in range(4) if i != j]
        rest = enc.panel_reliability(RATINGS[kept], BEST, where=~MISSING[kept], draws=20)
        weights = weights_without(j, table, found.columns, 2.0).reshape(4, 3)
        assert (weights[j] == 0).all()
        np.testing.assert_allclose(weights[kept], rest.columns.weights["agreement"].reshape(3, 3), atol=1e-4)
        margin, other = d @ whole, d @ weights.ravel()
        assert line.kept == pytest.approx(np.corrcoef(np.r_[margin, -margin], np.r_[other, -other])[0, 1], abs=1e-5)
        sign = np.where(BEST == 0, 1, -1)
        rates = (~np.isnan(differences())).any(2)  # [4, N]; the others say nothing for or against a judge
        there = np.delete(rates, j, 0).any(0)
        gain = np.mean((sign * other > 0)[there]) - np.mean((sign * margin > 0)[there])
        assert line.without == pytest.approx(gain, abs=1e-9) and line.without_low <= gain <= line.without_high
        alone = np.mean((1 + sign * np.sign(d.reshape(N, 4, 3)[:, j].sum(1)))[rates[j]] / 2)
        assert line.accuracy == pytest.approx(alone, abs=1e-9)
        assert line.alone == pytest.approx(alone - np.mean((sign * margin > 0)[rates[j]]), abs=1e-9)
    lost = {line.judge: line.without for line in found.judges}
    assert min(lost, key=lost.get) == "ann", "the best judge is missed most"


def test_a_judge_is_judged_by_what_it_rates():
    """Comparisons that a judge did not rate speak neither for it nor against it."""
    gone = np.zeros(RATINGS.shape, bool)
    gone[0, N // 4 :] = True
    told = enc.panel_reliability(RATINGS, BEST, where=~gone, draws=200).judges[0]
    few = enc.panel_reliability(RATINGS[:, : N // 4], BEST[: N // 4], draws=200).judges[0]
    assert told.labels == N // 4 and told.missing == pytest.approx(1 - (N // 4) / N)
    assert told.accuracy == pytest.approx(few.accuracy) and told.low < told.accuracy < told.high
    assert told.accuracy > 0.6, "it is no coin"


def pairs(ratings, missing):
    flat = np.moveaxis(ratings, 0, 2).reshape(N, 2, -1)
    where = ~np.moveaxis(missing, 0, 2).reshape(N, 2, -1)
    return rated_pairs(np.where(where, flat, 0), BEST, where)


def test_intervals_of_accuracy_are_those_of_a_bootstrap_by_hand():
    both = pairs(RATINGS, MISSING)
    table = pair_table(both, 4, 2000, 0)
    own = own_means(table).values[:, 0]
    (value, low, high), (gain, gain_low, gain_high) = accuracies(
        table, [Margin(own, 0.0), Margin(-own, 0.0)], np.ones((N, 2), bool)
    )
    right = (1 + np.sign(own) * table.sign) / 2
    rng = np.random.default_rng(5)
    drawn = [right[rng.integers(0, N, N)].mean() for _ in range(2000)]
    np.testing.assert_allclose([low[0], high[0]], np.percentile(drawn, [2.5, 97.5]), atol=0.015)
    assert value[0] == pytest.approx(right.mean()) and gain[0] == gain_low[0] == gain_high[0] == 0
    assert value[1] == pytest.approx(1 - right.mean()), "no ties here"
    assert correlation_of(own, -own) == pytest.approx(-1)


SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])
"""Shrout and Fleiss (1979), table 2: ICC(1,1) = .17, ICC(1,4) = .44."""


def test_icc_is_that_of_the_textbook():
    told = one_way(SHROUT)
    assert (round(told.icc, 2), round(told.icc_mean, 2), told.n) == (0.17, 0.44, 6)
    assert told.share == pytest.approx(1 - told.icc)
    assert one_way(10 * SHROUT).icc == pytest.approx(told.icc), "no matter the scale"


def test_variance_components_are_those_of_a_simulation_also_with_gaps():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(20000, 1)) + 0.5 * rng.normal(size=(20000, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    told = one_way(values)
    assert told.between == pytest.approx(1, abs=0.04) and told.within == pytest.approx(0.25, abs=0.01)
    assert told.share == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (np.ones((5, 2)), np.nan),
        (np.full((5, 2), 0.1), np.nan),
        (np.zeros((5, 2)), np.nan),
        (np.tile([0.0, 1.0], (5, 1)), 1.0),
        (np.full((5, 3), np.nan), np.nan),
        (np.array([[0.0, 1.0]]), np.nan),
        (np.array([[0.1, 0.1], [0.9, 0.9]]), 0.0),
    ],
)
def test_what_does_not_vary_has_no_share(values, share):
    np.testing.assert_equal(one_way(values).share, share)


def test_draws_of_a_judge_are_averaged_and_their_chance_is_told():
    rng = np.random.default_rng(4)
    quality = rng.normal(size=(400, 2, 1))
    style = 0.5 * rng.normal(size=(400, 2, 2))
    draws = quality + style + 0.8 * rng.normal(size=(3, 400, 2, 2))
    others = quality + rng.normal(size=(2, 400, 2, 2))
    rows = np.concatenate([draws, others])
    told = enc.panel_reliability(rows, judges=list("abcde"), draws_of=["x", "x", "x", "d", "e"], draws=20)
    by_hand = enc.panel_reliability(np.stack([draws.mean(0), *others]), judges=["x", "d", "e"], draws=20)
    np.testing.assert_allclose(told.loading, by_hand.loading, atol=1e-5)
    assert [line.judge for line in told.judges] == ["x", "d", "e"] and not told.of_draws
    (repeated,) = told.repetitions
    assert repeated.judge == "x" and repeated.draws == 3
    assert repeated.share == pytest.approx(0.64 / (1.25 + 0.64), abs=0.04)
    alone = enc.panel_reliability(draws, judges=list("abc"), draws_of=["x"] * 3, draws=20)
    assert alone.of_draws and [line.judge for line in alone.judges] == list("abc")
    assert "Use the mean of all 3 draws." in repr(alone)


def test_position_is_told_from_verdicts_in_both_orders():
    """Two thirds of the pairs are decided by content, one third by place.

    What is said of a response then correlates by 1 on the former and by -1 on the latter, 1/3 in all.
    """
    rng = np.random.default_rng(6)
    better = rng.random(9000) < 0.5
    by_place = np.arange(9000) % 3 == 0
    verdicts = np.stack([np.where(by_place, 1, better), np.where(by_place, 1, ~better)], 1).astype(float)
    verdicts[:30, 1] = np.nan
    (told,) = positions(verdicts[None], ["judge"])
    assert told.n == 8970 and told.same == pytest.approx(2 / 3, abs=0.01)
    assert told.first == pytest.approx(2 / 3, abs=0.01) and told.low < told.first < told.high
    assert told.share == pytest.approx(1 - 1 / 3, abs=0.02)
    shown = enc.panel_reliability(RATINGS[:2], verdicts=np.stack([verdicts] * 2), draws=20)
    assert len(shown.positions) == 2 and "same in both orders" in repr(shown)
    assert "position plays no part" in repr(enc.panel_reliability(RATINGS[:2], draws=20))


def test_recommendations_say_whom_to_use(found):
    assert repr(found).startswith("Leave out coin, and use the mean of ann, bob, dan.")
    assert found.strays() == ("coin",) and left_out(found) == ("coin",) and best_alone(found) is None
    lines = repr(found).splitlines()
    assert len(lines) < 30 and any("| coin |" in line for line in lines)


def test_a_judge_that_is_better_alone_is_named():
    rng = np.random.default_rng(8)
    quality, length = rng.normal(size=(2, 300, 2, 1))
    good = quality + 0.3 * rng.normal(size=(1, 300, 2, 2))
    long = length + 0.3 * rng.normal(size=(3, 300, 2, 2))
    told = enc.panel_reliability(
        np.concatenate([good, long]), quality[..., 0].argmax(1), judges=["good", "l1", "l2", "l3"], draws=60
    )
    assert best_alone(told).judge == "good" and repr(told).startswith("Use good alone. On 300 labelled pairs")


def test_a_panel_that_splits_is_not_averaged_and_a_pool_that_splits_is_told_from_it():
    rng = np.random.default_rng(9)
    one, other = rng.normal(size=(2, 400, 2, 1))
    noise = 0.5 * rng.normal(size=(4, 400, 2, 3))
    by_judge = np.stack([one, one, other, other]) + noise
    told = enc.panel_reliability(by_judge, judges=list("abcd"), draws=20)
    assert told.split == "judges" and "a, b; c, d" in repr(told).replace("c, d; a, b", "a, b; c, d")
    assert repr(told).startswith("Do not average these judges")
    by_rule = np.concatenate([one, one, other], -1) + noise
    told = enc.panel_reliability(by_rule, judges=list("abcd"), draws=20)
    assert told.split == "rules" and repr(told).startswith("Use the mean of all 4 judges.")
    anchored = enc.panel_reliability(by_judge, judges=list("abcd"), anchor=("c", "rule 0"), draws=20)
    assert "speak for c, d." in repr(anchored) and repr(anchored).startswith(
        "Leave out a, b, and use the mean of c, d."
    )
    assert anchored.meant() == ("c", "d") and "Nothing in the ratings" not in repr(anchored)
    assert anchored.weights()[:2].sum() < 0.05 and anchored.weights()[2:].sum() > 0.95


def test_a_judge_whose_scale_is_turned_round_is_told():
    told = enc.panel_reliability(RATINGS[[0, 1, 3]] * np.array([1, 1, -1])[:, None, None, None], draws=40)
    assert "judge 2 goes against the others" in repr(told) and "is its scale turned round?" in repr(told)
    assert told.strays() == ("judge 2",)


SIGNS = {
    "two against two": ([1, 1, -1, -1], [1, 1, 1], {}, "Do not average these judges: the panel splits.*a, b; c, d"),
    "one against one": ([1, -1], [1, 1, 1], {}, "Do not average these judges: the panel splits.*go against each other"),
    "an anchor": ([1, 1, -1, -1], [1, 1, 1], {"anchor": ("c", "rule 0")}, "Leave out a, b, and use the mean of c, d"),
    "labels": ([-1, 1, 1, -1], [1, 1, 1], {"preferred": BEST}, "Leave out a, d, and use the mean of b, c"),
    "most": ([1, 1, 1, -1], [1, 1, 1], {}, "Leave out d, and use the mean of a, b, c.*d goes against the others"),
    "an anchor against most": ([1, 1, 1, -1], [1, 1, 1], {"anchor": ("d", "rule 1")},
                               "Leave out a, b, c, and use d alone.*goes against what the anchor speaks for"),
    "labels between two": ([-1, 1], [1, 1, 1], {"preferred": BEST}, "Leave out a, and use b alone"),
    "a rule": ([1, 1, 1, 1], [1, -1, 1], {}, "Use the mean of all 4 judges. On rule 1 all of them go against the"),
    "rules by an anchor": ([1, 1, 1, 1], [-1, -1, 1], {"anchor": ("b", "rule 2")},
                           "On rule 0, rule 1 all of them go against what the anchor"),
    "both kinds": ([1, 1, -1, -1], [1, -1, 1], {}, "Do not average these judges: the panel splits.*a, b; c, d"),
    "everybody, by labels": ([-1, -1, -1], [1, 1, 1], {"preferred": BEST}, "Use none of these judges: by the labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNS)
def test_judges_and_rules_that_run_the_other_way_are_told_apart(case):
    signs, rules, options, words = SIGNS[case]
    rng = np.random.default_rng(11)
    signed = np.array(signs)[:, None, None, None] * np.array(rules)
    ratings = (QUALITY + 0.6 * rng.normal(size=(len(signs), N, 2, 3))) * signed
    told = enc.panel_reliability(ratings, judges=list("abcd")[: len(signs)], draws=40, **options)
    assert re.match(f".*{words}", repr(told).splitlines()[0])
    assert told.split == ("judges" if words.startswith("Do not average") else "")
    if told.split:
        np.testing.assert_allclose(told.weights(), 1 / told.loading.size)
        assert {frozenset(part) for part in told.parts().values()} == {
            frozenset(line.judge for line, way in zip(told.judges, signs, strict=True) if way == one) for one in (1, -1)
        }
        assert all(line.follows for line in told.judges), "each with those of its way"
    elif told.ways.judges_differ:
        assert set(told.meant()) & set(left_out(told)) == set()
        gone = [line.judge not in told.meant() for line in told.judges]
        assert told.weights()[gone].sum() == pytest.approx(0, abs=1e-6)


def test_a_mean_over_scales_of_different_size_is_warned_of():
    scale = np.array([1, 20, 1])[:, None, None, None]
    told = enc.panel_reliability(RATINGS[[0, 1, 3]] * scale, judges=["a", "b", "c"], draws=20)
    assert "Bring them to one scale first: the ratings of b spread" in repr(told)
    np.testing.assert_allclose(told.judges[1].spread / told.judges[2].spread, 20, rtol=0.2)
    assert "one scale first" not in repr(enc.panel_reliability(RATINGS[[0, 1, 3]], draws=20))


def test_the_order_of_judges_rules_and_responses_changes_nothing(found):
    order, rules = [2, 0, 3, 1], [1, 2, 0]
    other = enc.panel_reliability(
        RATINGS[order][:, :, ::-1, rules], 1 - BEST, judges=[NAMES[j] for j in order], draws=60,
        rules=[RULES[k] for k in rules], where=~MISSING[order][:, :, ::-1, rules],
    )  # fmt: skip
    np.testing.assert_allclose(other.loading, found.loading[order][:, rules], atol=1e-4)
    assert other.between.correlation == pytest.approx(found.between.correlation, abs=1e-6)
    assert other.between.low == pytest.approx(found.between.low, abs=1e-6)
    for line in other.judges:
        same = found.judges[NAMES.index(line.judge)]
        assert line.rest == pytest.approx(same.rest, abs=1e-5) and line.without == pytest.approx(same.without)


def test_the_page_and_the_notebook_escape_names_and_hold_every_table(found, tmp_path):
    told = enc.panel_reliability(RATINGS[:2], judges=["<b>", "b\x1b[31m"], rules=["<i>", "b", "c"], draws=20)
    page = told.report(tmp_path).read_text()
    assert (tmp_path / "panel.html").is_file() and "<b>\x1b" not in page and "\x1b" not in repr(told)
    assert "&lt;b&gt;" in page and "&lt;i&gt;" in page and '<td class="name"><b>' not in page
    for words in ("The judges", "How many independent judges", "The rules", "Loading of every judge", "position plays"):
        assert words in page
    assert "&lt;b&gt;" in told._repr_html_()
    assert "points" in enc.panel_reliability(RATINGS, BEST, judges=NAMES, draws=20)._repr_html_()
    with pytest.raises(InputError, match="a file is in the way"):
        told.report(tmp_path / "panel.html" / "x.html")
    json.dumps(panel_results(found), allow_nan=False)


NAN = np.where(np.arange(4)[:, None, None, None] == 1, np.nan, RATINGS)
BAD = {
    "one judge": (dict(ratings=RATINGS[:1]), "judges: got 1; a panel has at least 2.*Fix: add a judge"),
    "no array": (dict(ratings="abc"), "ratings: are no array of numbers"),
    "complex": (dict(ratings=RATINGS + 1j), "ratings: are no array of numbers: they are complex"),
    "ragged": (dict(ratings=[[1.0], [1.0, 2.0]]), "ratings: are no array of numbers"),
    "one judge's array": (dict(ratings=RATINGS[0]), r"has shape \(240, 2, 3\).*reliability\(\) tells"),
    "one response": (dict(ratings=RATINGS[:, :, :1]), "has shape"),
    "no comparison": (dict(ratings=RATINGS[:, :0]), "has shape"),
    "two columns": (dict(ratings=RATINGS[:2, :, :, :1]), "2 judges on 1 rule are 2 columns.*add a judge or a rule"),
    "too many columns": (dict(ratings=np.zeros((201, 2, 2, 2))), "more than 400 columns"),
    "names": (dict(judges=["a", "b"]), "2 names for 4 judges"),
    "twice": (dict(judges=["a", "b", "a", "c"]), "judges: two are called 'a'"),
    "empty": (dict(judges=["a", " ", "c", "d"]), r"judges\[1\]: is empty"),
    "rules": (dict(rules=["a", "a", "b"]), "rules: 2 different names for 3 rules"),
    "draws of": (dict(draws_of=["a"]), "draws_of: names 1 judges for 4 rows"),
    "mask": (dict(where=np.ones((4, 3), bool)), "where: ratings .* mask"),
    "all masked": (dict(where=np.zeros(RATINGS.shape, bool)), "judge 'judge 0': has no rating that the mask keeps"),
    "one masked": (dict(where=np.isfinite(NAN)), "judge 'judge 1': has no rating that the mask keeps.*leave it out"),
    "NaN": (dict(ratings=NAN), "judge 'judge 1': has no rating that is a number"),
    "one NaN": (dict(ratings=np.where(RATINGS == RATINGS[2, 3, 1, 0], np.nan, RATINGS)),
                "judge 'judge 2', comparison 3, response 1, rule 'rule 0': nan is no finite number.*mask it"),
    "infinite": (dict(ratings=np.where(RATINGS == RATINGS[0, 0, 0, 0], np.inf, RATINGS)), "inf is no finite number"),
    "too large": (dict(ratings=np.where(RATINGS == RATINGS[0, 0, 0, 0], 1e60, RATINGS)), "no finite number of float32"),
    "preferred": (dict(preferred=np.full(N, 2)), "preferred is 2"),
    "preferred shape": (dict(preferred=np.zeros(3)), "preferred"),
    "prompt": (dict(prompt=[1, 2]), "prompt"),
    "anchor judge": (dict(anchor=("nobody", "rule 0")), "anchor: there is no judge 'nobody'"),
    "anchor rule": (dict(anchor=("judge 0", "x")), "anchor: there is no rule 'x'"),
    "anchor": (dict(anchor="judge 0"), "anchor: 'judge 0' is no judge and rule"),
    "draws": (dict(draws=1), "draws: got 1"),
    "labels": (dict(labels=0), "labels: got 0"),
    "verdicts": (dict(verdicts=np.zeros((4, 3))), "verdicts: has shape"),
    "verdict": (dict(verdicts=np.full((4, 3, 2), 2.0)), "verdicts, judge 'judge 0', pair 0: 2 is outside 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name):
    options, problem = BAD[name]
    with pytest.raises(InputError, match=problem) as caught:
        enc.panel_reliability(**{"ratings": RATINGS, "draws": 20} | options)
    assert "\n" not in str(caught.value) and caught.value.fix


def test_constant_and_thin_judges_are_unknown_and_not_trusted():
    constant = np.where(np.arange(4)[:, None, None, None] == 2, 0.5, RATINGS)
    told = enc.panel_reliability(constant, judges=NAMES, draws=20)
    line = told.judges[2]
    assert np.isnan(line.loading) and np.isnan(line.rest) and np.isfinite(told.effective_judges)
    few = enc.panel_reliability(RATINGS[:, :10], judges=NAMES, draws=20)
    assert np.isnan(few.effective_judges) and "cannot be told" in repr(few)
    assert repr(few).startswith("Trust none of these judges yet")
    assert repetitions(RATINGS, NAMES) == ()
