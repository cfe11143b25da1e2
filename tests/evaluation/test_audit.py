"""The audit: contributions sum to margins, Shapley values by all orders, flips by leaving rules out, and the page."""

import base64
import dataclasses
import hashlib
import itertools
import json
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from encore_jax.composition import compose
from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation import audit
from encore_jax.report.audit_page import embedded, render_audit
from tests.evaluation import views

VIEW = views.view()
WEIGHTS = np.array([0.5, 0.25, 0.125, 0.125], np.float32)  # sums of quarters are exact, and so are ties
EVIL = "</script><script>alert(1)</script><!-- \u2028 &amp;"


def parts(pairs=VIEW.test, weights=WEIGHTS):
    return audit.contributions(pairs.scores, pairs.preferred, weights)


def credit(margin):
    return float(((margin > 0) + 0.5 * (margin == 0)).mean())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_contributions_sum_to_the_margin_of_every_comparison(data):
    n, k = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 12))
    values = st.floats(-100, 100, width=32)
    scores = data.draw(arrays.arrays(np.float32, (n, 2, k), elements=values))
    weights = data.draw(arrays.arrays(np.float32, (k,), elements=values))
    preferred = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    found = audit.contributions(scores, preferred, weights)
    rewards = np.asarray(compose(scores, weights), np.float64)
    rows = np.arange(n)
    margin = rewards[rows, preferred] - rewards[rows, 1 - preferred]
    size = (np.abs(scores.astype(np.float64)).sum(1) * np.abs(weights)).sum(1)
    assert (np.abs(found.astype(np.float64).sum(1) - margin) <= 1e-6 * size + 1e-30).all()


def test_leaving_a_rule_out_is_setting_its_weight_to_zero():
    lost, gained = audit.flips(parts())
    whole = parts().astype(np.float64).sum(1)
    for k in range(4):
        weights = WEIGHTS.copy()
        weights[k] = 0
        without = parts(weights=weights).astype(np.float64).sum(1)
        np.testing.assert_array_equal(lost[:, k], (whole > 0) & (without <= 0))
        np.testing.assert_array_equal(gained[:, k], (whole <= 0) & (without > 0))
        assert audit.accuracy_without(parts())[k] == pytest.approx(credit(without))


def test_shapley_values_are_the_mean_over_all_orders():
    contribution = parts()
    gains = np.zeros((24, 4))
    for o, order in enumerate(itertools.permutations(range(4))):
        before = 0.5
        for i in range(4):
            after = credit(contribution[:, list(order[: i + 1])].sum(1))
            gains[o, order[i]] = after - before
            before = after
    found = audit.shapley_accuracy(contribution, jax.random.key(0))
    np.testing.assert_allclose(found.value, gains.mean(0), atol=1e-6)
    assert (found.standard_error == 0).all()
    whole = credit(contribution.sum(1))
    assert found.value.sum() == pytest.approx(whole - 0.5, abs=1e-6)


def test_sampled_shapley_values_agree_with_exact_ones_within_their_error(monkeypatch):
    rng = np.random.default_rng(0)
    contribution = (rng.normal(0.1, 1, (300, 6)) * np.linspace(0.2, 2, 6)).astype(np.float32)
    exact = audit.shapley_accuracy(contribution, jax.random.key(0))
    monkeypatch.setattr(audit, "EXACT", 3)
    sampled = audit.shapley_accuracy(contribution, jax.random.key(1), orders=600)
    assert (np.abs(sampled.value - exact.value) < 4.5 * sampled.standard_error).all()
    assert sampled.value.sum() == pytest.approx(exact.value.sum(), abs=1e-5)  # every order adds up
    with pytest.raises(InputError, match="at most 3 rules"):
        audit.subset_accuracy(contribution[:, :4])
    few = contribution[:, :3]  # as many as are enumerated: the values are exact
    assert (
        audit.subset_accuracy(few).shape == (8,)
        and not audit.shapley_accuracy(few, jax.random.key(0)).standard_error.any()
    )


def test_a_rule_without_weight_has_no_value_and_equal_rules_have_equal_ones():
    contribution = parts(weights=np.array([0.5, 0.0, 0.25, 0.25], np.float32))
    contribution[:, 3] = contribution[:, 2]
    value = audit.shapley_accuracy(contribution, jax.random.key(0)).value
    assert value[1] == 0 and value[2] == pytest.approx(value[3])


def test_what_is_said_of_every_rule():
    rules = audit.audit_rules(VIEW.rules, WEIGHTS, parts(), parts(weights=np.ones(4)), jax.random.key(0))
    json.dumps(rules, allow_nan=False)
    first, whole = VIEW.test.first_preferred.astype(np.float64), parts().astype(np.float64).sum(1)
    shapley, size = audit.shapley_accuracy(parts(), jax.random.key(0)).value, np.abs(parts()).mean(0)
    for k, rule in enumerate(rules):
        better, tie = first[:, 0, k] > first[:, 1, k], first[:, 0, k] == first[:, 1, k]
        rest = whole - WEIGHTS[k] * (first[:, 0, k] - first[:, 1, k])
        lost, gained = ((whole > 0) & (rest <= 0)).sum(), ((whole <= 0) & (rest > 0)).sum()
        assert rule == {
            "name": VIEW.rules[k], "weight": WEIGHTS[k], "agreement": pytest.approx(better.mean() + tie.mean() / 2),
            "ties": tie.sum(), "share": pytest.approx(size[k] / size.sum()), "lost": lost, "gained": gained,
            "gain": pytest.approx(credit(whole) - credit(rest)), "shapley": pytest.approx(shapley[k]), "shapley_se": 0,
        }  # fmt: skip
    lost, gained = ([rule[what] for rule in rules] for what in ("lost", "gained"))
    assert all(a != b for a, b in zip(lost, gained, strict=True)) and max(lost) > 1 and max(gained) > 1


def test_the_standard_error_of_sampled_shapley_values_is_their_spread(monkeypatch):
    """Over runs with other random orders; an error without the root of the number of orders would be 8 times off."""
    monkeypatch.setattr(audit, "EXACT", 3)
    contribution = np.random.default_rng(0).normal(0.1, 1, (40, 5)).astype(np.float32)
    runs = [audit.shapley_accuracy(contribution, jax.random.key(seed), orders=64) for seed in range(60)]
    spread = np.std([run.value for run in runs], axis=0, ddof=1)
    told = np.mean([run.standard_error for run in runs], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.3)


# The page


def page(pairs=VIEW.test, name="made up"):
    comparisons = [
        Comparison(
            (Message("user", f"Question {i} {EVIL}"),), (f"a {i}", f"b {i} {EVIL}"), int(p), subset=s, id=f"c{i}"
        )
        for i, (p, s) in enumerate(zip(pairs.preferred, pairs.subset, strict=True))
    ]
    contribution = parts(pairs)
    rules = audit.audit_rules(VIEW.rules, WEIGHTS, contribution, parts(pairs, np.ones(4)), jax.random.key(0))
    facts = {"name": name, "label": "human-rated", "description": "Made for tests.", "method": "ENCORE"}
    facts |= {"comparisons": len(pairs), "accuracy": credit(contribution.sum(1)), "ties": 0}
    return render_audit(facts, rules, comparisons, pairs.first_preferred, contribution)


def test_the_page_holds_everything_and_its_script_may_run_and_nothing_else():
    html = page(name=EVIL)
    scripts = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 2
    digest = base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not re.search(r"https?://", html) and not re.search(r"\s(?:src|href)=", html)
    data = json.loads(scripts[0])
    assert data["prompt"][7] == f"user: Question 7 {EVIL}" and data["id"][7] == "c7"
    preferred = VIEW.test.preferred[7]
    assert data["texts"][7] == [["a 7", f"b 7 {EVIL}"][i] for i in (preferred, 1 - preferred)]
    np.testing.assert_allclose(data["contributions"], parts(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(data["scores"], VIEW.test.first_preferred, rtol=1e-5)


def test_json_in_the_page_cannot_end_its_element():
    assert "<" not in embedded({"text": EVIL}) and json.loads(embedded([EVIL])) == [EVIL]


def test_weights_of_another_pool_are_refused():
    with pytest.raises(InputError, match="for 4 rules"):
        parts(weights=WEIGHTS[:3])


def test_scores_of_a_view_are_not_changed():
    before = dataclasses.replace(VIEW.test, scores=VIEW.test.scores.copy())
    page()
    np.testing.assert_array_equal(before.scores, VIEW.test.scores)
