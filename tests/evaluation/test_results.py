"""What results.json says about a view: every promised field, each against a plain count."""

import json

import jax
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition.settings import CompositionSettings
from encore_jax.evaluation.results import compose_view, evaluate_view
from encore_jax.evaluation.view import Baseline
from tests.evaluation import views
from tests.evaluation.test_bootstrap import draws

VIEW, SETTINGS, SEED, REPLICATES = views.view(), CompositionSettings(draws=16), 7, 64


@pytest.fixture(scope="module")
def composition():
    return compose_view(VIEW, SETTINGS, SEED)


@pytest.fixture(scope="module")
def results(composition):
    return evaluate_view(VIEW, composition, SETTINGS, SEED, REPLICATES)


@pytest.fixture(scope="module")
def methods(results):
    return {method["name"]: method for method in results["methods"]}


def credits(weights, critical=0):
    """Credit of every test comparison under `weights`, by a loop over comparisons."""
    credit = []
    for pair, preferred in zip(VIEW.test.scores, VIEW.test.preferred, strict=True):
        if critical:  # mean over the rules that tie for the last place
            parts = np.round((pair[preferred] - pair[1 - preferred]).astype(float) * np.float64(weights), 7)
            last = sorted(abs(parts))[-critical]
            above, at = abs(parts) > last, abs(parts) == last
            total = parts[above].sum() + parts[at].mean() * (critical - above.sum())
            credit.append(0.5 if abs(total) < 1e-6 else float(total > 0))
            continue
        better, worse = (float(np.dot(pair[i], np.float32(weights))) for i in (preferred, 1 - preferred))
        credit.append(1.0 if better > worse else 0.5 * (better == worse))
    return np.array(credit)


def test_it_is_strict_json_and_says_where_it_comes_from(results):
    json.loads(json.dumps(results, allow_nan=False))
    assert results["label"] == "human-rated" and results["name"] == "heads" and results["description"]
    assert results["comparisons"] == {"train": 60, "test": 80}
    assert results["prompts"]["test"] == len(set(VIEW.test.cluster.tolist()))
    assert results["settings"]["tau"] == 2.0 and results["settings"]["levels"] == 11


def test_every_rule_has_its_counts(results, composition):
    first = VIEW.test.first_preferred
    assert [rule["name"] for rule in results["rules"]] == list(VIEW.rules)
    for k, rule in enumerate(results["rules"]):
        values = VIEW.ratings[VIEW.rated[:, k], k]
        wins, ties = (first[:, 0, k] > first[:, 1, k]).sum(), (first[:, 0, k] == first[:, 1, k]).sum()
        assert rule["n"] == len(values) and rule["bins"] == len(set(values.tolist()))
        assert rule["entropy"] == composition.entropy[k] and rule["weight"] == composition.weights[k]
        assert rule["mean"] == pytest.approx(values.mean(), rel=1e-5)
        assert rule["variance"] == pytest.approx(values.var(), rel=1e-4)
        assert sum(rule["histogram"]) == rule["n"]
        assert (rule["comparisons"], rule["ties"]) == (80, ties)
        assert rule["accuracy"]["value"] == pytest.approx((wins + 0.5 * ties) / 80)
        assert rule["accuracy_ties_wrong"] == pytest.approx(wins / 80)
        alone = next(m for m in results["methods"] if m["name"] == f"single: {rule['name']}")
        assert rule["accuracy"] == pytest.approx(alone["accuracy"])  # one bootstrap for rules and methods


def test_every_method_has_its_counts(methods, composition):
    for method in composition.methods:
        if method.refused or method.weights.ndim > 1:
            continue
        credit, told = credits(method.weights, method.critical), methods[method.name]
        ties = credit == 0.5
        assert (told["n"], told["correct"], told["ties"]) == (80, (credit == 1).sum(), ties.sum())
        assert told["accuracy"]["value"] == pytest.approx(credit.mean())
        assert told["accuracy_ties_wrong"] == pytest.approx((credit == 1).mean())
        for subset in ("rude", "violent"):
            member = VIEW.test.subset == subset
            part = told["subsets"][subset]
            expected = (member.sum(), (credit[member] == 1).sum(), ties[member].sum())
            assert (part["n"], part["correct"], part["ties"]) == expected
            assert part["accuracy"]["value"] == pytest.approx(credit[member].mean())
        macro = np.mean([credit[VIEW.test.subset == subset].mean() for subset in ("rude", "violent")])
        assert told["subset_mean"]["value"] == pytest.approx(macro)
        assert told["sees"] == method.sees and told["oracle"] == method.is_oracle


def test_random_weightings_are_averaged_and_their_spread_told(methods, composition):
    weights = next(m.weights for m in composition.methods if m.name == "random (Dirichlet)")
    accuracy = np.array([credits(w).mean() for w in weights.T])
    assert methods["random (Dirichlet)"]["accuracy"]["value"] == pytest.approx(accuracy.mean(), abs=1e-4)
    assert methods["random (Dirichlet)"]["draw_sd"] == pytest.approx(accuracy.std(), abs=1e-4)
    assert methods["ENCORE"]["draw_sd"] == 0.0


def test_heuristics_are_methods_that_read_the_text(methods):
    told, reward = methods["heuristic: shorter"], VIEW.heuristics["shorter"]
    rows = np.arange(80)
    better, worse = reward[rows, VIEW.test.preferred], reward[rows, 1 - VIEW.test.preferred]
    assert told["correct"] == (better > worse).sum() and told["ties"] == (better == worse).sum()
    assert told["sees"] == "text"


def test_intervals_are_those_of_a_loop_over_the_same_draws(methods, composition):
    test_key, _ = jax.random.split(jax.random.key(SEED))
    prompts = np.unique(VIEW.test.cluster)
    weights = {m.name: m.weights for m in composition.methods}
    encore, uniform = credits(weights["ENCORE"]), credits(weights["uniform"])
    rude = VIEW.test.subset == "rude"
    overall, difference, of_subset, macro = [], [], [], []
    for drawn in draws(test_key, REPLICATES, len(prompts)):
        rows = np.concatenate([np.flatnonzero(VIEW.test.cluster == prompts[g]) for g in drawn])
        overall.append(encore[rows].mean())
        difference.append((encore - uniform)[rows].mean())
        of_subset.append(encore[rows][rude[rows]].mean())
        macro.append((of_subset[-1] + encore[rows][~rude[rows]].mean()) / 2)
    told = methods["ENCORE"]
    for samples, interval in (
        (overall, told["accuracy"]),
        (difference, told["minus_uniform"]),
        (of_subset, told["subsets"]["rude"]["accuracy"]),
        (macro, told["subset_mean"]),
    ):
        np.testing.assert_allclose([interval["low"], interval["high"]], np.percentile(samples, [2.5, 97.5]), atol=1e-5)


def test_every_method_is_tested_against_uniform(methods, composition):
    weights = {m.name: m.weights for m in composition.methods}
    difference = credits(weights["ENCORE"]) - credits(weights["uniform"])
    test = methods["ENCORE"]["test"]
    assert (test["better"], test["worse"]) == ((difference > 0).sum(), (difference < 0).sum())
    expected = scipy.stats.binomtest(test["better"], test["better"] + test["worse"]).pvalue
    assert test["mcnemar_p"] == pytest.approx(expected)
    assert methods["uniform"]["test"] is None and methods["random (Dirichlet)"]["test"]["mcnemar_p"] is None
    tests = [m["test"] for m in methods.values() if m["test"]]
    assert all(t["prompt_p"] <= t["bh_p"] + 1e-12 <= t["holm_p"] + 2e-12 <= 1 + 3e-12 for t in tests)


def test_any_two_methods_are_compared(results, composition):
    names = [m["name"] for m in results["methods"] if not m["name"].startswith("single: ")]
    assert len(results["pairs"]) == len(names) * (len(names) - 1) / 2
    weights = {m.name: m.weights for m in composition.methods}
    pair = next(p for p in results["pairs"] if (p["first"], p["second"]) == ("uniform", "inverse variance"))
    difference = credits(weights["uniform"]) - credits(weights["inverse variance"])
    assert pair["difference"] == pytest.approx(difference.mean())
    assert pair["discordance"] == pytest.approx((difference**2).mean())


def test_a_baseline_of_its_own_rewards_is_a_method():
    import dataclasses

    rewards = VIEW.test.scores[:, :, 0]
    view = dataclasses.replace(VIEW, baselines={"a gate": Baseline("train labels", rewards)})
    composition = compose_view(view, SETTINGS, SEED)
    told = {m["name"]: m for m in evaluate_view(view, composition, SETTINGS, SEED, REPLICATES)["methods"]}
    assert told["a gate"]["accuracy"] == told["single: alpha"]["accuracy"]
    assert told["a gate"]["sees"] == "train labels"


def test_uniform_differs_from_itself_by_nothing(methods):
    assert set(methods["uniform"]["minus_uniform"].values()) == {0.0}


def test_the_correlation_comes_with_its_intervals(results, methods):
    premise = results["premise"]
    entropy = [rule["entropy"] for rule in results["rules"]]
    accuracy = [rule["accuracy"]["value"] for rule in results["rules"]]
    assert premise["r"] == pytest.approx(np.corrcoef(entropy, accuracy)[0, 1], abs=1e-4)
    assert premise["fisher"][0] <= premise["r"] <= premise["fisher"][1] and len(premise["bootstrap"]) == 2
    assert premise["gain"] == methods["ENCORE"]["minus_uniform"]
    assert premise["verdict"] in ("holds", "does not hold", "cannot tell at this size") and premise["reasons"]


def test_the_sensitivity_table_contains_the_configured_choice(results, methods):
    table = results["sensitivity"]
    at = table["accuracy"][table["levels"].index(11)][table["tau"].index(2.0)]
    assert at == pytest.approx(methods["ENCORE"]["accuracy"]["value"], abs=1e-6)


def test_equal_seeds_give_equal_results_and_others_do_not(results, composition):
    assert evaluate_view(VIEW, composition, SETTINGS, SEED, REPLICATES) == results
    other = evaluate_view(VIEW, composition, SETTINGS, SEED + 1, REPLICATES)
    assert other["methods"][0]["accuracy"]["value"] == results["methods"][0]["accuracy"]["value"]
    assert other["methods"][0]["accuracy"] != results["methods"][0]["accuracy"]
    drawn, here = compose_view(VIEW, SETTINGS, SEED + 1).methods, [m.name for m in composition.methods]
    at = here.index("random (Dirichlet)")
    assert not np.array_equal(drawn[at].weights, composition.methods[at].weights)


def test_warnings_are_kept_for_the_report():
    import dataclasses

    view = dataclasses.replace(VIEW, ratings=VIEW.ratings * np.float32([1, 1, 1, 0]))
    (warning,) = compose_view(view, SETTINGS, SEED).warnings
    assert "rule 'delta': all ratings are equal" in warning


def test_a_refused_method_has_a_row_that_says_why_and_no_number():
    import dataclasses

    flat = dataclasses.replace(VIEW, train=dataclasses.replace(VIEW.train, scores=0 * VIEW.train.scores))
    composition = compose_view(flat, dataclasses.replace(SETTINGS, method="agreement"), SEED)
    assert np.isnan(composition.weights).all() and composition.chosen == "agreement"
    told = evaluate_view(flat, composition, SETTINGS, SEED, REPLICATES)
    refused = {method["name"]: method["why"] for method in told["refused"]}
    assert refused["agreement"] == "the rules have too little in common to tell" == told["agreement"]["refused"]
    assert not refused.keys() & {method["name"] for method in told["methods"]} and "uniform" not in refused


@pytest.mark.parametrize("method", ["entropy", "agreement", "agreement_entropy", "uniform"])
def test_the_composed_weights_are_those_of_the_method(composition, method):
    import dataclasses

    from encore_jax.composition.settings import COMPOSED_BY

    chosen = dataclasses.replace(composition, chosen=COMPOSED_BY[method])
    row = next(m for m in composition.methods if m.name == COMPOSED_BY[method])
    assert chosen.composed_by is row
    if not row.refused:
        np.testing.assert_array_equal(chosen.weights, row.weights)


def test_agreements_own_row_is_in_its_sensitivity_table(results, methods, composition):
    table = results["sensitivity"]["agreement"]
    if composition.agreement.refused:
        assert table is None
        return
    assert table["accuracy"][0][0] == pytest.approx(methods["agreement"]["accuracy"]["value"], abs=1e-6)
    assert len(table["accuracy"]) == len(table["fits"]) == 2 and len(table["accuracy"][1]) == len(table["weights"]) == 3
