"""A rating run's output taken whole: by one flag, by one word, and refused by name where there is none."""

import json
import shutil
from pathlib import Path

import pytest

from encore_jax.cli import reliability
from encore_jax.cli.command import Given
from encore_jax.cli.config_file import load_config
from encore_jax.cli.from_run import take_from
from encore_jax.cli.main import COMMANDS, expanded
from encore_jax.data import iter_comparisons, iter_rated
from encore_jax.data.rating_run import rating_run
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.rules import RulePool
from tests.experiments import tiny_run


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """The work directory of a run whose judge is a table of ratings."""
    files = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    data = DataConfig(
        source="files", pool=str(files / "pool.yaml"), path=str(files / "pairs.jsonl"),
        ratings_path=str(files / "rated.jsonl"),
    )  # fmt: skip
    workdir = tmp_path_factory.mktemp("runs") / "rated"
    run_experiment(validated(RatingConfig(name="rated", data=data, judge=JudgeConfig(kind="table"))), workdir)
    return workdir


def taken(folder, overrides=(), name="encore_hh"):
    config = load_config(name)
    take_from(config, Given(config, name, dict.fromkeys(overrides, "")), str(folder))
    return config.data


def test_one_flag_stands_for_rules_comparisons_ratings_formats_and_scale(rated):
    data = taken(rated)
    made = ingest(Sources(data), seed=0)
    pool = RulePool.from_yaml(rated / "rate" / "pool.yaml")
    comparisons = list(iter_comparisons(rated / "rate" / "comparisons.jsonl", pool=pool))
    assert made.pool.digest == pool.digest and len(made.comparisons) == len(comparisons) == 2 * tiny_run.PROMPTS
    assert len(made.rated) == len(list(iter_rated(rated / "rate" / "rated.jsonl", pool=pool))) > 0


def test_fit_and_reliability_take_the_folder_as_their_word(rated, capsys, tmp_path, monkeypatch):
    assert expanded(COMMANDS["fit"], [str(rated), "--config.seed=1"]) == [
        "--config=encore_hh", f"--from={rated}", "--config.seed=1",
    ]  # fmt: skip
    reliability.main(reliability.parse([str(rated), "--draws=20"]))
    whole = capsys.readouterr().out
    reliability.main(reliability.parse([str(rated / "rate" / "comparisons.jsonl"), "--draws=20"]))
    assert whole == capsys.readouterr().out and all(rule.name in whole for rule in tiny_run.POOL)


def test_the_stage_itself_is_a_rating_run_too(rated):
    assert rating_run(rated / "rate") == rating_run(str(rated))


@pytest.mark.parametrize("field", ["data.path", "data.pool", "data.scale"])
def test_a_field_that_follows_from_the_run_is_not_given_beside_it(rated, field):
    with pytest.raises(InputError, match=f"--from: is given beside --config.{field}"):
        taken(rated, [field])


@pytest.mark.parametrize(
    ("name", "problem"),
    [("theory", "runs on comparisons and ratings"), ("rewardbench", "runs on comparisons and ratings")],
)
def test_runs_that_read_no_such_data_are_refused(rated, name, problem):
    with pytest.raises(InputError, match=problem):
        taken(rated, name=name)


@pytest.mark.parametrize("kind", ["nowhere", "empty", "unfinished", "changed"])
def test_what_is_no_finished_rating_run_is_named(rated, tmp_path, kind):
    folder = tmp_path / "run"
    if kind == "empty":
        folder.mkdir()
    elif kind != "nowhere":
        shutil.copytree(rated, folder)
    if kind == "unfinished":
        (folder / "rate" / "manifest.json").unlink()
    if kind == "changed":
        path = folder / "rate" / "rated.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    words = {"nowhere": "no such folder", "empty": "holds no ratings", "unfinished": "is not finished",
             "changed": "missing or was changed"}  # fmt: skip
    with pytest.raises(InputError, match=words[kind]) as refused:
        rating_run(folder)
    assert "\n" not in str(refused.value) and str(Path(folder)) in str(refused.value)
