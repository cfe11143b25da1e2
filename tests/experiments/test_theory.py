"""The theory's report in miniature: every claim measured, verdicts written, the same page for the same results."""

import json

import jax
import numpy as np
import pytest
import scipy.stats

from encore_jax.errors import InputError
from encore_jax.evaluation import theory_agreement, theory_closed
from encore_jax.evaluation.theory_noise import measured_judges
from encore_jax.evaluation.theory_ratings import trained_weights
from encore_jax.evaluation.theory_weights import zero_weight
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.theory_config import TheoryConfig
from tests.evaluation import views
from tests.report.page_checks import check_page


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theory")
    views.view().save(folder / "view-heads.npz")
    made = TheoryConfig(pairs=8000, repeats=12, views=(str(folder / "view-heads.npz"),), replicates=30)
    run_experiment(validated(made), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_every_claim_has_its_four_parts_and_is_confirmed(finished):
    results = json.loads((finished / "results.json").read_text())
    names = [claim["name"] for claim in results["claims"]]
    assert len(names) >= 15 and len(set(names)) == len(names)
    for claim in results["claims"]:
        assert claim["assumption"] and claim["prediction"] and claim["rows"]
    contradicted = {claim["name"]: claim["rows"] for claim in results["claims"] if claim["verdict"] != "confirmed"}
    assert not contradicted
    gains = [cell["measured"] for cell in results["phase"]]
    assert min(gains) < 0 < max(gains), "ENCORE must win somewhere and lose somewhere"
    winners = {cell["winner"] for cell in results["junk"]}
    assert {"agreement", "ENCORE"} <= winners, "agreement must win somewhere, and be refused somewhere"


@pytest.mark.slow
def test_the_page_says_what_is_made_up_and_needs_nothing_else(finished):
    page = (finished / "report.html").read_text()
    check_page(page)
    assert "semi-synthetic" in page and "human-rated" in page and "refused" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_wrong_closed_form_is_found_out(monkeypatch):
    right = theory_closed.bradley_terry_optimum
    monkeypatch.setattr(theory_closed, "bradley_terry_optimum", lambda mean, covariance: 1.1 * right(mean, covariance))
    assert zero_weight(jax.random.key(0), 20_000, 20).verdict == "contradicted"


def test_trained_weights_find_the_rule_that_preferences_follow():
    found = trained_weights(views.view(train=200), seed=0, replicates=40)
    by_entropy = sorted(found["rules"], key=lambda rule: rule["entropy"])
    assert max(found["rules"], key=lambda rule: rule["weight"]["value"])["name"] == by_entropy[0]["name"] == "alpha"
    assert found["r"] < 0 and found["verdict"] in ("agrees", "cannot tell at this size")
    assert by_entropy[0]["weight"]["low"] > 0


@pytest.mark.parametrize(("field", "value"), [("pairs", 10), ("repeats", 2), ("replicates", 1)])
def test_too_little_simulation_is_refused(field, value):
    with pytest.raises(InputError, match=rf"config\.{field}"):
        validated(TheoryConfig(**{field: value}))


def test_ties_survive_compilation():
    """Ratings and their difference compiled together become multiply-adds, which would decide ties by rounding."""
    _, accuracy = measured_judges(jax.numpy.ones(1), 0.5, jax.random.key(1), "gaussian", 11, 20_000, 4)
    assert float(accuracy.mean()) == pytest.approx(theory_closed.judge(1.0, 0.5, "gaussian", 11)[1], abs=0.01)


def test_a_wrong_accuracy_of_weighted_sums_is_found_out(monkeypatch):
    right = theory_agreement.expected_accuracy
    monkeypatch.setattr(theory_agreement, "expected_accuracy", lambda *given: right(*given) + 0.1)
    assert theory_agreement.bartlett(np.random.default_rng(0), 4000, 6).verdict == "contradicted"


def test_the_closed_form_of_accuracy_is_a_normal_correlation():
    """By SciPy: P(two normals have the same sign), with a nuisance beside what is followed."""
    v, u, weights = np.array([0.8, 0.1]), np.array([0.2, 0.7]), np.array([1.0, 0.5])
    covariance = np.outer(v, v) + np.outer(u, u) + np.diag(1 - v**2 - u**2)
    rho = weights @ v / np.sqrt(weights @ covariance @ weights)
    both = 2 * scipy.stats.multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf([0, 0])
    assert theory_agreement.expected_accuracy(weights, v, u) == pytest.approx(both, abs=1e-6)
