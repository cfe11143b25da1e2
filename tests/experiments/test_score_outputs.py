"""Scores go where they were asked to go, whole, and over nobody's files: no input, no other run's parts, no notes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from absl.testing import flagsaver

from encore_jax.cli import score
from encore_jax.cli.score_parts import Parts
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from tests.experiments import tiny_reward_model

REPOSITORY = Path(__file__).resolve().parents[2]

ROWS = [{"id": f"{i}", "prompt": f"Question {i}?", "responses": [f"Answer {i}.", "No."]} for i in range(20)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model in memory, and what it scores."""
    folder = tmp_path_factory.mktemp("model")
    tiny_reward_model.write(folder)
    return folder / "model", RewardModel.from_pretrained(folder / "model")


@pytest.fixture
def files(tmp_path, made, monkeypatch):
    """A folder with the input; chunks of 8 rows; scores cost nothing."""
    monkeypatch.setattr(score, "CHUNK", 8)
    monkeypatch.setattr(Scorer, "run_sequences", lambda self, sequences, owners, label="": fake(self, sequences))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def fake(scorer, sequences):
    import numpy as np

    lengths = np.array([len(sequence) for sequence in sequences], np.float32)
    return np.repeat(lengths[:, None], scorer.columns, 1)


@pytest.fixture
def run(files, made):
    def run(output="out.parquet", weights=None, **options):
        model = made[1].weighted(weights) if weights else made[1]
        return score.score_file(model, files / "in.jsonl", files / output, **options)

    return run


def interrupted(run, monkeypatch, after, **options):
    """The same run, ended after some parts."""
    write, written = Parts.write, []

    def stop(self, number, table):
        if len(written) == after:
            raise KeyboardInterrupt
        write(self, number, table)
        written.append(number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Parts, "write", stop)
        run(**options)


def test_parts_of_another_run_are_left_alone(files, run, monkeypatch):
    run(weights="equal")
    before = (files / "out.parquet").read_bytes()
    interrupted(run, monkeypatch, 2, weights="violence=1", overwrite=True)
    assert len(list((files / "out.parquet.parts").glob("0*"))) == 2
    run(weights="equal")  # complete: nothing of the other run is lost
    assert len(list((files / "out.parquet.parts").glob("0*"))) == 2 and (files / "out.parquet").read_bytes() == before
    with pytest.raises(InputError, match="holds parts of another run"):
        run(weights="privacy=1", overwrite=True)
    with pytest.raises(InputError, match=r"holds other scores: the model is another \(.*weights.*--overwrite"):
        run(weights="violence=1")
    run(weights="violence=1", overwrite=True)
    assert not (files / "out.parquet.parts").exists() and (files / "out.parquet").read_bytes() != before


def part_of(files, number):
    return files / "out.parquet.parts" / f"{number:06d}.parquet"


def shortened(path):
    pq.write_table(pq.read_table(path).slice(1), path)


DAMAGED_PARTS = {
    "missing": lambda path: path.unlink(),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "fewer rows": shortened,
    "another part": lambda path: shutil.copy(path.with_name("000001.parquet"), path),
    "no note of whose": lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata({}), path),
}


@pytest.mark.parametrize("damage", DAMAGED_PARTS)
def test_what_is_merged_is_counted_against_what_was_asked(files, run, monkeypatch, damage):
    run("whole.parquet")
    interrupted(run, monkeypatch, 2)
    DAMAGED_PARTS[damage](part_of(files, 0))
    run()
    assert pq.read_table(files / "out.parquet").equals(pq.read_table(files / "whole.parquet"))


@pytest.mark.parametrize("damage", DAMAGED_PARTS)
def test_a_part_that_changes_before_the_merge_is_refused(files, run, monkeypatch, damage):
    merge = Parts.merge

    def damaged(self, rows):
        DAMAGED_PARTS[damage](part_of(files, 0))
        merge(self, rows)

    monkeypatch.setattr(Parts, "merge", damaged)
    with pytest.raises(InputError, match="000000.parquet: is missing, or is not the part of 8 rows"):
        run()
    assert not (files / "out.parquet").exists()


def test_more_parts_than_were_asked_for_are_refused(files, run, monkeypatch):
    interrupted(run, monkeypatch, 2)
    shutil.copy(part_of(files, 0), part_of(files, 7))
    with pytest.raises(InputError, match="holds parts of something else: 000007.parquet"):
        run()
    assert part_of(files, 7).exists() and not (files / "out.parquet").exists()


def test_an_input_that_changes_meanwhile_is_not_scored_under_the_old_name(files, run, monkeypatch):
    fill = score._fill

    def changed(*arguments):
        fill(*arguments)
        (files / "in.jsonl").write_text((files / "in.jsonl").read_text().replace("Answer", "Reply"))

    monkeypatch.setattr(score, "_fill", changed)
    with pytest.raises(InputError, match="in.jsonl: changed while it was scored"):
        run()
    assert not (files / "out.parquet").exists() and not (files / "out.parquet.parts").exists()


@pytest.mark.parametrize("name", ["out.parquet", "best.jsonl"])
def test_two_processes_do_not_share_an_output(files, run, name):
    with output_lock(files / name), pytest.raises(InputError, match=f"{name}: is in use by process"):
        run(best=files / "best.jsonl")
    assert sorted(path.name for path in files.iterdir()) == ["in.jsonl"]


def linked(files, how):
    target = files / "other"
    if how == "symbolic":
        target.symlink_to(files / "in.jsonl")
    elif how == "hard":
        os.link(files / "in.jsonl", target)
    return files / "in.jsonl" if how == "itself" else target


@pytest.mark.parametrize("how", ["itself", "symbolic", "hard"])
@pytest.mark.parametrize("flag", ["output", "best"])
def test_no_output_is_the_input(files, run, flag, how):
    before, path = (files / "in.jsonl").read_bytes(), linked(files, how)
    options = {"output": path} if flag == "output" else {"best": path}
    with pytest.raises(InputError, match=f"--{flag}=.* is the input --input"):
        run(**options, overwrite=True)
    assert (files / "in.jsonl").read_bytes() == before


def test_outputs_are_not_one_another(files, run):
    with pytest.raises(InputError, match="is also --best"):
        run(best=files / "out.parquet", overwrite=True)
    (files / "link").symlink_to(files / "out.parquet")
    with pytest.raises(InputError, match="is also --best"):
        run(best=files / "link", overwrite=True)


OTHERS = {
    "text": lambda path: path.write_text("mine"),
    "empty": lambda path: path.write_text(""),
    "another table": lambda path: pq.write_table(pa.table({"x": [1]}), path),
    "dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["out.parquet", "best.jsonl"])
def test_what_somebody_else_made_is_replaced_only_when_told_to(files, run, kind, name):
    OTHERS[kind](files / name)
    before = os.readlink(files / name) if (files / name).is_symlink() else (files / name).read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        run(best=files / "best.jsonl")
    assert before == (os.readlink(files / name) if (files / name).is_symlink() else (files / name).read_bytes())
    assert not (files / "nowhere").exists() and not (files / "out.parquet.parts").exists()
    run(best=files / "best.jsonl", overwrite=True)
    assert pq.read_table(files / "out.parquet").num_rows == 20
    assert len((files / "best.jsonl").read_text().splitlines()) == 20


@pytest.mark.parametrize("name", ["out.parquet", "best.jsonl"])
def test_a_folder_is_never_replaced(files, run, name):
    (files / name).mkdir()
    with pytest.raises(InputError, match="is a folder"):
        run(best=files / "best.jsonl", overwrite=True)


def test_what_it_made_itself_may_be_made_again(files, run):
    counts = run(best=files / "best.jsonl")
    assert run(best=files / "best.jsonl") == counts
    (files / "best.jsonl").unlink()
    assert run(best=files / "best.jsonl") == counts and (files / "best.jsonl").exists()
    (files / "best.jsonl").write_text("mine")
    with pytest.raises(InputError, match="best.jsonl: is there already"):
        run(best=files / "best.jsonl")
    assert (files / "best.jsonl").read_text() == "mine"


@pytest.mark.parametrize("kind", ["cut", "rows"])
def test_an_output_that_was_damaged_is_no_traceback(files, run, kind):
    run()
    path = files / "out.parquet"
    if kind == "cut":
        content = bytearray(path.read_bytes())
        content[4:300] = bytes(296)
        path.write_bytes(content)
    else:
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
    with pytest.raises(InputError, match="is damaged|holds 19 rows, and the input 20"):
        run()


def refused(files, made, capsys, *arguments):
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
        score.main(["score", f"--model={made[0]}", f"--input={files / 'in.jsonl'}", *arguments])
    error = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and error[-1].startswith("error: ")
    assert sorted(path.name for path in files.iterdir()) == ["in.jsonl"]
    return error[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=x.csv"], "--output=x.csv: ends in '.csv', and Parquet is written. Fix: name it x.parquet"),
        (["--output=x.jsonl"], "ends in '.jsonl'"),
        (["--output=x"], "has no ending"),
        (["--output="], "--output: is empty"),
        ([], "--output: is missing"),
        (["--output=x.parquet", "--best=y.parquet"], "--best=y.parquet: ends in '.parquet', and JSON Lines"),
        (["--output=x.parquet", "--tokens_per_batch=0"], "--tokens_per_batch"),
        (["--output=x.parquet", "--tokens_per_batch=many"], "--tokens_per_batch"),
        (["--output=x.parquet", "stray"], "unexpected arguments: stray"),
        (["--output={model}/x.parquet"], "lies in the input folder --model"),
        (["--output={model}/deep/x.parquet"], "lies in the input folder --model"),
    ],
)
def test_wrong_flags_are_one_line(files, made, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(files)
    line = refused(files, made, capsys, *(argument.format(model=made[0]) for argument in arguments))
    assert re.search(words, line), line


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--tokens-per-batches=8", "did you mean --tokens_per_batch"),
        ("--tokens-per-batch=8", "--model: is missing"),
        ("--ouput=y", "did you mean --output"),
    ],
)
def test_an_unknown_flag_names_a_near_one(flag, words):
    """In a process of its own: other commands' flags, imported by other tests, are no part of it."""
    command = [sys.executable, "-m", "encore_jax.cli.score", "--output=x.parquet", flag]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
