"""Coverage of intervals on held-out ratings: no alarm where prompts are exchangeable, an alarm where they are not."""

import json
import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from encore_jax.errors import InputError
from encore_jax.evaluation.coverage import (
    ABOVE,
    ALL,
    BELOW,
    EVERY_RULE,
    HOLDS,
    REWARD,
    UNBOUNDED,
    Coverage,
    coverage,
    coverage_of,
    exchangeable_p,
    wilson,
)
from encore_jax.evaluation.results import finite
from encore_jax.report.coverage_page import cells
from encore_jax.reward.calibration import HELD_OUT, Calibration
from encore_jax.reward.intervals import intervals_of
from tests.experiments import tiny_reward_model
from tests.reward.test_intervals import rated

RULES, WEIGHTS = ("violence", "privacy", "kindness"), np.array([0.5, 0.3, 0.2], np.float32)


def responses(rng, prompts, noise=1.0, sizes=(1, 6), missing=0.3):
    """Scores, ratings and prompts; errors of one prompt depend on each other."""
    prompt = np.repeat(np.arange(prompts), rng.integers(*sizes, prompts))
    scores = rng.normal(size=(len(prompt), 3))
    errors = rng.normal(size=(prompts, 3))[prompt] + 0.5 * rng.normal(size=scores.shape)
    ratings = scores + noise * errors
    ratings[rng.random(scores.shape) < missing] = np.nan
    return scores, ratings, prompt


def measured(seed, noise=1.0, subsets=("a",), calibration=150, held_out=80, **options):
    rng = np.random.default_rng(seed)
    scores, ratings, prompt = responses(rng, calibration, **options)
    known = np.isfinite(ratings).any(1)
    intervals = intervals_of(Calibration(scores[known], ratings[known], prompt[known], HELD_OUT), RULES, WEIGHTS)
    parts = []
    for i, name in enumerate(subsets):
        s, r, p = responses(rng, held_out, noise if i == 0 else 1.0, **options)
        parts.append((s, r, p + i * held_out, np.full(len(p), name)))
    return coverage_of(intervals, *(np.concatenate(part) for part in zip(*parts, strict=True)), WEIGHTS)


def row(found, what, subset=ALL):
    return next(row for row in found.rows if (row.what, row.subset) == (what, subset))


def test_exchangeable_prompts_raise_no_alarm_and_are_covered():
    found = [measured(seed, subsets=("a", "b")) for seed in range(120)]
    alarms = sum(any(row.verdict in (BELOW, ABOVE) for row in each.rows) for each in found)
    assert binom.sf(alarms - 1, len(found), 0.05) > 1e-3
    for what in (REWARD, EVERY_RULE, *RULES):
        mean = np.mean([row(each, what).coverage for each in found])
        assert 0.885 < mean < 0.925
    assert "No test of 9 says that exchangeability fails" in "\n".join(found[0].sentences())


def test_a_subset_that_differs_is_named_and_the_others_are_not():
    for seed in range(5):
        found = measured(seed, noise=2.5, subsets=("new", "old"))
        bad = row(found, EVERY_RULE, "new")
        assert bad.verdict == BELOW and bad.high < 0.9 and row(found, EVERY_RULE, "old").verdict == HOLDS
        said = [line for line in found.sentences() if line.startswith("Exchangeability fails for all rules on subset")]
        assert len(said) == 1 and "subset new" in said[0] and "of the 90.0 % promised" in said[0]
        assert not any("No test" in line for line in found.sentences())
    wide = measured(0, noise=0.01)
    assert row(wide, EVERY_RULE).verdict == ABOVE and "wider than they need be" in "\n".join(wide.sentences())


def test_the_tests_law_is_that_of_simulated_split_conformal_coverage():
    """Prompts of one response: covered ones are beta-binomial, whatever the distribution of errors."""
    rng, prompts, held_out = np.random.default_rng(0), 29, 40
    rank = math.ceil(0.9 * (prompts + 1))
    counts = [
        int((np.abs(rng.standard_cauchy(held_out)) <= np.sort(np.abs(rng.standard_cauchy(prompts)))[rank - 1]).sum())
        for _ in range(4000)
    ]
    law = betabinom(held_out, rank, prompts + 1 - rank)
    assert np.mean(counts) == pytest.approx(law.mean(), abs=5 * law.std() / math.sqrt(4000))
    assert np.std(counts) == pytest.approx(law.std(), rel=0.08)
    p = np.array([exchangeable_p(count, held_out, prompts, 0.9) for count in counts])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() < level + 4 * math.sqrt(level / 4000)
    assert exchangeable_p(20, held_out, prompts, 0.9) < 0.01 < exchangeable_p(33, held_out, prompts, 0.9)
    with pytest.raises(InputError, match="8 prompts promise no coverage"):
        exchangeable_p(5, 10, 8, 0.9)


def test_each_prompt_counts_once():
    rng = np.random.default_rng(1)
    scores = np.zeros((400, 3))
    calibration = Calibration(scores, scores + rng.normal(size=scores.shape), np.arange(400), HELD_OUT)
    intervals = intervals_of(calibration, RULES, WEIGHTS)
    prompt = np.r_[np.zeros(50), np.arange(1, 11)].astype(int)  # 50 responses to one prompt, all of them wrong
    ratings = np.r_[np.full((50, 3), 9.0), np.zeros((10, 3))]
    found = row(coverage_of(intervals, np.zeros((60, 3)), ratings, prompt, np.full(60, "a"), WEIGHTS), EVERY_RULE)
    assert found.coverage == pytest.approx(10 / 11) and found.by_rating == pytest.approx(1 / 6)
    assert (found.low, found.high) == wilson(10 / 11, 11) and (found.prompts, found.ratings) == (11, 180)


def test_rules_without_an_interval_are_shown_and_nothing_is_said_to_hold():
    few = measured(0, calibration=5)
    assert {row.verdict for row in few.rows} == {UNBOUNDED} and {row.what for row in few.rows} == {REWARD, *RULES}
    said = "\n".join(few.sentences())
    assert "Without an interval of finite width: kindness, privacy, the reward, violence" in said
    assert "No test" not in said and "9 are needed" in said
    assert finite(few.to_json())["rows"][0]["width"] is None
    again = Coverage.from_json(json.loads(json.dumps(finite(few.to_json()))))
    assert again.rows == few.rows and again.sentences() == few.sentences()


def test_results_show_themselves(tmp_path):
    found = measured(0, noise=2.5, subsets=("<new>", "old"))
    assert "exchangeability fails" in repr(found) and repr(found).startswith("Intervals of the reward hold")
    page = found.report(tmp_path / "page.html").read_text()
    assert "&lt;new&gt;" in page and "<new>" not in page and "<svg" in page
    assert len(cells(found)) == len(found.rows) + 1 and "<table" in found._repr_html_()
    assert Coverage(0.9, (), ()).sentences() == ["Coverage is not known: no held-out response is rated."]


def test_a_models_coverage_is_that_of_its_scores():
    model = tiny_reward_model.in_memory().calibrated(rated(prompts=60))
    found = coverage(model, rated(prompts=60, seed=3, missing=0.3))
    assert {row.what for row in found.rows} == {REWARD, EVERY_RULE, *RULES} and found.notes == ()
    assert row(found, EVERY_RULE).prompts == 60 and row(found, EVERY_RULE).verdict == HOLDS
    with pytest.raises(InputError, match="nobody has calibrated"):
        coverage(tiny_reward_model.in_memory(), rated())
