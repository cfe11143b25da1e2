"""Bradley-Terry training as an experiment: what it learns, what it says, and what it refuses."""

import json

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.preference import preference_results
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
from encore_jax.report.curve_figure import curve_figure
from tests.experiments import tiny_run
from tests.report.page_checks import check_page


def tiny(files, **train):
    config = tiny_run.config(files)
    usual = dict(method="gradient", loss="bradley_terry", trainable="all", rows=8, length=256, lr=3e-3, epochs=10,
                 save_every=20, watch=4, keep_best="accuracy", remat="none")  # fmt: skip
    config.train = TrainConfig(**(usual | train))
    config.data.ratings_path = ""
    return validated(config)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    run_experiment(tiny(files), workdir)
    return workdir


@pytest.mark.parametrize(("steps", "smooth", "said"), [(3, 10, 3), (30, 10, 10), (30, 1, 1)])
def test_the_curve_is_smoothed_over_no_more_steps_than_there_are(steps, smooth, said):
    figure = curve_figure([{"step": i, "loss": 1.0 / (1 + i)} for i in range(steps)], smooth)
    assert f"mean of {said} steps" in figure


def test_it_learns_and_says_how_well(finished):
    results = json.loads((finished / "results.json").read_text())
    losses = [line["loss"] for line in results["metrics"] if "loss" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert [line["step"] for line in results["metrics"] if "loss" in line] == list(range(len(losses)))
    model, *others = results["held_out"]["methods"]
    assert model["name"] == "reward model" and {o["name"] for o in others} == {
        "heuristic: refusal",
        "heuristic: shorter",
    }
    assert model["n"] == results["counts"]["train"]["comparisons_held_out"] > 10
    accuracy = model["accuracy"]
    assert accuracy["value"] == pytest.approx((model["correct"] + model["ties"] / 2) / model["n"])
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert sorted(p.name for p in finished.iterdir() if p.is_dir()) == ["evaluate", "ingest", "report", "train"]
    page = (finished / "report.html").read_text()
    check_page(page)
    assert "held-out" in page and "<svg" in page and f"{model['n']}" in page


def test_rewards_are_of_held_out_prompts_only_and_in_order(finished):
    with np.load(finished / "train" / "rewards.npz") as stored:
        numbers, rewards = stored["comparison"], stored["rewards"]
    model = json.loads((finished / "results.json").read_text())["held_out"]["methods"][0]
    assert rewards.shape == (len(numbers), 2) and np.isfinite(rewards).all()
    assert (np.diff(numbers) > 0).all()
    assert model["correct"] == (rewards[:, 0] > rewards[:, 1]).sum()


def test_a_second_run_has_nothing_to_do(files, finished):
    before = (finished / "train" / "manifest.json").stat().st_mtime_ns
    run_experiment(tiny(files), finished)
    assert (finished / "train" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_best_checkpoint_can_be_used_and_training_cut_short(files, tmp_path):
    """A learning rate far too high: the model is best early, and the last state is not what is wanted."""
    config = tiny(files, lr=0.3, max_steps=9, save_every=3, keep_best="loss", use="best", keep=1)
    run_experiment(config, tmp_path, until="train")
    training = json.loads((tmp_path / "train" / "counts.json").read_text())["training"]
    lines = [json.loads(line) for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines()]
    watched = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    assert training["steps"] == 9 and sorted(watched) == [3, 6, 9]
    assert training["used_step"] == min(watched, key=watched.get)


def test_stages_that_it_does_not_have_are_refused(files, tmp_path):
    with pytest.raises(InputError, match="no stage 'compose'"):
        run_experiment(tiny(files), tmp_path, until="compose")


def test_comparisons_that_do_not_fit_are_left_out_whole():
    sequences = [np.arange(n) for n in (5, 9, 12, 3, 30, 4, 9, 9)]
    sequences = [np.r_[7, s + 100 * i] for i, s in enumerate(sequences)]  # nothing shared but the first token
    laid = lay_comparisons(sequences, 16)
    assert laid.kept.tolist() == [0, 1]  # 1 + 5 + 9 and 1 + 12 + 3 fit 16; 31 alone and 1 + 9 + 9 together do not
    assert [tree.keys for tree in laid.trees] == [(0, 1), (2, 3)]
    targets = preference_targets(4, ["a", "b", "c", "d"])
    assert targets.pairs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert targets.named([3]) == ["b, other"]


def test_agreement_counts_ties_half_and_compares_pair_by_pair():
    model = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.5, 0.5]])
    other = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    found = preference_results({"model": model, "other": other}, np.arange(4), ["x", "x", "y", "y"], 0, 200)
    first, second = found["methods"]
    assert first["accuracy"]["value"] == 2.5 / 4 and second["accuracy"]["value"] == 1.5 / 4
    assert (first["correct"], first["ties"]) == (2, 1)
    assert second["model_ahead_by"]["value"] == pytest.approx(0.25)
    assert first["model_ahead_by"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert first["subsets"]["x"] == {"n": 2, "accuracy": 0.5}


def test_ratings_are_needed_by_other_losses_only(files, tmp_path):
    config = tiny_run.config(files)
    config.data.ratings_path = ""
    with pytest.raises(InputError, match=r"none of its 80 comparisons carries ratings.*data\.ratings_path"):
        run_experiment(validated(config), tmp_path, until="ingest")
    assert tiny(files).data.ratings_path == ""
