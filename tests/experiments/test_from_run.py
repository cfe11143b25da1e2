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
from encore_jax.data.lock import folder_lock
from encore_jax.data.rating_run import rating_run
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ablation_source import AblationSource
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


def mark(folder, kind):
    (folder / ".encore_jax.json").write_text(json.dumps({"kind": kind}))
    return folder


def test_a_run_that_is_at_work_says_who_and_one_that_was_killed_what_to_do(rated, tmp_path):
    """Before the stage has written anything, while it writes, and after a kill at either moment."""
    for name, files in (("early", ()), ("late", ("pool.yaml", "comparisons.jsonl", "rated.jsonl"))):
        folder = mark(tmp_path / name, "rating") if (tmp_path / name).mkdir() is None else None
        for before in ("no stage", "begun"):
            if before == "begun":
                (folder / "rate").mkdir()
                for file in ("inputs.json", *files):
                    shutil.copyfile(rated / "rate" / file, folder / "rate" / file)
            with (
                folder_lock(folder),
                pytest.raises(InputError, match=r"is in use by process \d+ .*Fix: wait until it ends"),
            ):
                rating_run(folder)
            with pytest.raises(InputError, match="is not finished|is a rating run that is not finished") as refused:
                rating_run(folder)
            assert refused.value.fix == "run the command that made it again, to its end"


def test_a_panel_that_is_not_finished_is_not_taken_for_one_judge(rated, tmp_path):
    shutil.copytree(rated, tmp_path / "run")
    mark(tmp_path / "run", "panel")
    with pytest.raises(InputError, match="is a rating run that is not finished"):
        rating_run(tmp_path / "run")
    (tmp_path / "run" / "rate").rename(tmp_path / "run" / "panel")
    assert rating_run(tmp_path / "run").pool == tmp_path / "run" / "panel" / "pool.yaml"


@pytest.mark.parametrize("kind", ["encore", "verdicts", "ablation"])
def test_a_run_of_another_kind_is_called_by_its_kind(tmp_path, kind):
    (tmp_path / "rate").mkdir()  # ENCORE's stage of this name leaves no comparisons
    (tmp_path / "rate" / "inputs.json").write_text("{}")
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "view-heads.npz").write_bytes(b"")
    with pytest.raises(InputError, match=rf"another kind \({kind}\), and no ratings.*are in \S*view-heads.npz"):
        rating_run(mark(tmp_path, kind))


@pytest.mark.parametrize("where", ["moved here", "read-only", "ein Ordner mit Käse \N{PILE OF POO}", "link", "~"])
def test_a_run_may_lie_anywhere(rated, tmp_path, where, capsys, monkeypatch):
    folder = tmp_path / where
    if where == "~":
        monkeypatch.setenv("HOME", str(tmp_path))
        folder = tmp_path / "home run"
        where = "~/home run"
    shutil.copytree(rated, folder if where != "link" else tmp_path / "real")
    if where == "link":
        folder.symlink_to(tmp_path / "real")
    if where == "read-only":
        for path in (*folder.rglob("*"), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)
    word = where if where.startswith("~") else str(folder)
    assert len(ingest(Sources(taken(word)), seed=0).comparisons) == 2 * tiny_run.PROMPTS
    reliability.main(reliability.parse([word, "--draws=20"]))
    printed = capsys.readouterr().out
    assert all(rule.name in printed for rule in tiny_run.POOL)
    with AblationSource(word).path.open() as file:
        assert '"prompt": ' in file.readline()
    for path in folder.rglob("*"):
        path.chmod(0o755)


def test_what_python_has_saved_is_taken_by_the_same_words(rated, tmp_path, capsys):
    """`enc.rate(...).save(folder)` leaves comparisons and rules."""
    for name in ("pool.yaml", "comparisons.jsonl"):
        shutil.copyfile(rated / "rate" / name, tmp_path / name)
    made = ingest(Sources(taken(tmp_path)), seed=0)
    assert len(made.comparisons) == 2 * tiny_run.PROMPTS and len(made.rated) > 0
    reliability.main(reliability.parse([str(tmp_path), "--draws=20"]))
    printed = capsys.readouterr().out
    assert all(rule.name in printed for rule in tiny_run.POOL)


def test_an_ablation_of_a_run_refuses_what_the_others_refuse(rated, tmp_path):
    shutil.copytree(rated, tmp_path / "run")
    assert AblationSource(str(tmp_path / "run")).path == tmp_path / "run" / "rate" / "comparisons.jsonl"
    (tmp_path / "run" / "rate" / "manifest.json").unlink()
    with pytest.raises(InputError, match="is not finished.*Fix: run the command that made it again"):
        _ = AblationSource(str(tmp_path / "run")).path
