"""A run's intervals: calibrated on what nothing was trained on, saved with its model, and measured in its report."""

import json

import numpy as np
import pytest

from encore_jax.cli.export_run import export_run
from encore_jax.cli.finished_run import read_run
from encore_jax.data import prompt_key
from encore_jax.evaluation.coverage import ALL, EVERY_RULE, REWARD, Coverage, coverage
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.intervals import calibration_split
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.calibration import HELD_OUT, OUT_OF_FOLD
from encore_jax.reward.reward_model import RewardModel
from experiments.studies.coverage import summary
from tests.experiments import tiny_run

OPTIONS = dict(folded=False, peft=False, allow_mismatch=False, shard_bytes=10**9)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def ridge(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ridge") / "run"
    run_experiment(validated(tiny_run.config(files)), workdir)
    return workdir


@pytest.fixture(scope="module")
def gradient(files, tmp_path_factory):
    workdir, config = tmp_path_factory.mktemp("gradient") / "run", tiny_run.config(files)
    config.train = TrainConfig(
        method="gradient", trainable="heads", rows=8, length=256, lr=1e-2, epochs=1, watch=0, keep_best="", folds=3
    )
    run_experiment(validated(config), workdir)
    return workdir


def parts(workdir):
    """The run's texts, ratings and heads; which rated responses calibrate and measure."""
    config = json.loads((workdir / "config.json").read_text())
    data, trained = Ingested.load(workdir / "ingest"), TrainedHeads.load(workdir / "train")
    split = Split(config["data"]["test_fraction"], config["train"]["folds"], config["seed"])
    texts, ratings = texts_of(data, split), Ratings.load(workdir / "rate")
    return data, texts, trained, *calibration_split(texts, ratings, trained)


def test_heads_in_closed_form_are_calibrated_on_out_of_fold_scores_and_measured_on_all_held_out_prompts(ridge):
    data, texts, trained, calibration, measured = parts(ridge)
    test = texts.test[texts.rated]
    assert calibration.by == OUT_OF_FOLD and np.array_equal(measured, test) and test.any()
    assert np.array_equal(calibration.scores, trained.heads["human"].held_out_scores)
    assert calibration.prompt.tolist() == texts.cluster[texts.rated[~test]].tolist()
    missing = np.array([[not known for known in record.mask] for record in data.rated])[~test]
    assert np.array_equal(np.isnan(calibration.ratings), missing) and missing.any()


def test_the_runs_model_has_these_intervals_and_the_report_says_what_they_hold(ridge):
    data, texts, _, calibration, measured = parts(ridge)
    model = RewardModel.from_pretrained(ridge / "compose")
    assert model.passport.intervals == calibration.note and calibration.note.by == OUT_OF_FOLD
    results = json.loads((ridge / "results.json").read_text())
    assert results["passport"]["intervals"]["sha256"] == calibration.note.sha256
    told = Coverage.from_json(results["coverage"])
    again = coverage(model, [data.rated[i] for i in np.flatnonzero(measured)])
    for mine, theirs in zip(told.rows, again.rows, strict=True):
        assert mine.what == theirs.what and mine[2:] == pytest.approx(theirs[2:], abs=1e-4)
    assert told.rows[0].what == REWARD and told.rows[0].subset == ALL and any("aimed" in note for note in told.notes)
    assert {row.what for row in told.rows} >= {REWARD, EVERY_RULE, *model.rules}
    page = (ridge / "report.html").read_text()
    assert "What the intervals hold" in page and "Intervals of the reward hold" in page
    rated = [data.rated[i] for i in np.flatnonzero(measured)]  # the reward's of those that are rated on every rule
    assert told.rows[0].prompts == len({prompt_key(record.prompt) for record in rated if record.mask.all()})


def test_an_exported_run_keeps_them_whatever_its_weights(ridge, tmp_path):
    prompts, responses = ["0 fire"], [["Sure! fire", "I'm sorry, no."]]
    own = RewardModel.from_pretrained(ridge / "compose")
    for weights in ("", "uniform"):
        export_run(read_run(ridge), tmp_path / f"out{weights}", weights=weights, **OPTIONS)
        found = RewardModel.from_pretrained(tmp_path / f"out{weights}").rewards(prompts, responses, intervals=True)[0]
        expected = own.weighted(weights) if weights else own
        right = expected.rewards(prompts, responses, intervals=True)[0]
        assert np.allclose(found.lower, right.lower, atol=1e-4) and np.allclose(found.upper, right.upper, atol=1e-4)


def test_heads_trained_by_gradient_are_calibrated_on_half_of_the_held_out_prompts(gradient, tmp_path):
    data, texts, trained, calibration, measured = parts(gradient)
    test, prompt = texts.test[texts.rated], texts.cluster[texts.rated]
    assert calibration.by == HELD_OUT and measured.any() and not (measured & ~test).any()
    assert not set(calibration.prompt) & set(prompt[measured])
    assert set(calibration.prompt) | set(prompt[measured]) == set(prompt[test])
    found = json.loads((gradient / "results.json").read_text())["coverage"]
    assert found["rows"][0]["prompts"] == len(set(prompt[measured]))
    export_run(read_run(gradient), tmp_path / "out", **OPTIONS)
    assert RewardModel.from_pretrained(tmp_path / "out").passport.intervals == calibration.note


def test_over_random_splits_coverage_is_near_what_is_promised(ridge):
    found = summary(ridge, 6)
    assert found["splits"] == 6 and found["promised"] == 0.9
    for way in ("out-of-fold", "held-out"):
        table = found[way]["coverage"]
        assert set(table) == {REWARD, EVERY_RULE, *tiny_run.POOL.names} and found[way]["alarms"] == 0
        for row in table.values():  # 20 prompts calibrate, and 10 or 20 measure
            assert 0.9 - 4 * row["standard_error"] - 0.02 < row["mean"] and row["splits"] <= 6
