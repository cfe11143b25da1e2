"""What a run refuses before its first stage has done something, its dry run refuses too, in the same words."""

import contextlib
import json
import os
import socket

import pytest
from absl import flags
from absl.testing import flagsaver

from encore_jax.cli import run
from encore_jax.cli.command import define_config
from encore_jax.cli.main import COMMANDS, check_given, expanded
from encore_jax.command_line import BAD_INPUT
from encore_jax.data.lock import folder_lock, kept_journal

if "config" not in flags.FLAGS:
    define_config()
GRADES = [[5, 1, 4], [2, 3, 5], [4, 4, 1], [1, 2, 2]]
MODEL = "--config.model.path=model"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Comparisons, ratings and whatever may be named instead of them by mistake."""
    monkeypatch.chdir(tmp_path)
    rules = [{"name": name, "text": f"It is {name}."} for name in ("kind", "true", "safe")]
    (tmp_path / "rules.yaml").write_text(json.dumps({"name": "mine", "rules": rules}))
    pairs = [{"prompt": f"Question {i}", "chosen": f"Yes {i}", "rejected": "No"} for i in range(12)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    lines = ["prompt,response,kind,true,safe"]
    lines += [f"Question {i},{'Yes' if j else 'No'},{','.join(map(str, GRADES[(i + 2 * j) % 4]))}"
              for i in range(12) for j in (0, 1)]  # fmt: skip
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"\n')
    (tmp_path / "damaged.npz").write_bytes(b"no archive")
    (tmp_path / "folder").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.json").write_text("mine")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind("socket.jsonl")
    return tmp_path


def refusal(name, words, capsys, dry):
    """The one line that a command ends with, and its status."""
    check_given(name, words)
    arguments = [*expanded(COMMANDS[name], words), *(["--dry_run"] if dry else [])]
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
        run.main([name, *arguments])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == BAD_INPUT and len(lines) == 1 and not out, (out, err)
    return lines[0]


FIT = ["--config.data.pool=rules.yaml", MODEL, "--workdir=w"]
JUDGE = ["--config.judge.model=judge", "--config.judge.server.urls=http://127.0.0.1:1"]
ROWS = {
    "ratings are a folder": ("fit", ["pairs.jsonl", "folder", *FIT], "folder: is a folder"),
    "pairs are a folder": ("run", ["encore_hh", "--config.data.path=folder", *FIT], "folder: is a folder"),
    "ratings are a pipe": ("fit", ["pairs.jsonl", "pipe.jsonl", *FIT], "pipe.jsonl: cannot be read"),
    "ratings are a socket": ("fit", ["pairs.jsonl", "socket.jsonl", *FIT], "socket.jsonl: cannot be read"),
    "ratings are a device": ("fit", ["pairs.jsonl", "/dev/zero", *FIT], "/dev/zero: cannot be read"),
    "ratings are a loop": ("fit", ["pairs.jsonl", "loop.jsonl", *FIT], "loop.jsonl: "),
    "ratings are empty": ("fit", ["pairs.jsonl", "empty.jsonl", *FIT], "has no rows"),
    "pairs are broken": ("fit", ["broken.jsonl", "ratings.csv", *FIT], "broken.jsonl"),
    "no ratings": ("fit", ["pairs.jsonl", *FIT], "carries ratings"),
    "no ratings, joint": ("run", ["joint_smollm2", "--config.data.path=pairs.jsonl", *FIT], "carries ratings"),
    "rules are a folder": ("fit", ["pairs.jsonl", "ratings.csv", "--config.data.pool=folder", *FIT[1:]], "folder"),
    "work directory is a file": (
        "fit", ["pairs.jsonl", "ratings.csv", *FIT[:2], "--workdir=file"], "file: a file is in the way",
    ),
    "work directory in a file": (
        "fit", ["pairs.jsonl", "ratings.csv", *FIT[:2], "--workdir=file/w"], "file/w: a file is in the way",
    ),
    "work directory's long name": (
        "fit", ["pairs.jsonl", "ratings.csv", *FIT[:2], f"--workdir={'n' * 300}"], "cannot be written to",
    ),
    "work directory of others": (
        "fit", ["pairs.jsonl", "ratings.csv", *FIT[:2], "--workdir=foreign"], "holds what no run has made",
    ),
    "work directory in use": ("fit", ["pairs.jsonl", "ratings.csv", *FIT[:2], "--workdir=used"], "is in use by"),
    "output is an input": (
        "fit", ["w/config.json", "ratings.csv", *FIT], "is the input",
    ),
    "model is nowhere": ("fit", ["pairs.jsonl", "ratings.csv", FIT[0], "--config.model.path=m", "--workdir=w"], "m: "),
    "no such stage": ("fit", ["pairs.jsonl", "ratings.csv", *FIT, "--until=nothing"], "there is no stage 'nothing'"),
    "rate: pairs are a folder": ("rate", ["folder", *JUDGE, "--workdir=w"], "folder: is a folder"),
    "rate: pairs are empty": ("rate", ["empty.jsonl", *JUDGE, "--workdir=w"], "has no rows"),
    "rate: work directory is a file": ("rate", ["pairs.jsonl", *JUDGE, "--workdir=file"], "file: a file is in the way"),
    "rate: journal in use": (
        "rate", ["pairs.jsonl", *JUDGE, "--workdir=w", "--config.judge.journal=j.sqlite"], "j.sqlite: is in use by",
    ),
    "evaluate: pairs are a pipe": ("evaluate", ["model", "pipe.jsonl", "--workdir=w"], "pipe.jsonl: cannot be read"),
    "evaluate: pairs are broken": ("evaluate", ["model", "broken.jsonl", "--workdir=w"], "broken.jsonl"),
    "evaluate: work directory is a file": ("evaluate", ["model", "pairs.jsonl", "--workdir=file"], "file: a file"),
    "quickstart: work directory is a file": ("quickstart", ["--workdir=file"], "file: a file is in the way"),
    "ablate: scores are damaged": ("run", ["ablation", "--config.scores=damaged.npz", "--workdir=w"], "damaged.npz"),
    "ablate: scores are a folder": ("run", ["ablation", "--config.scores=folder", "--workdir=w"], "folder"),
    "ablate: scores are broken": ("run", ["ablation", "--config.scores=broken.jsonl", "--workdir=w"], "broken.jsonl"),
    "ablate: work directory is a file": (
        "run", ["ablation", "--config.scores=ratings.csv", "--workdir=file"], "file: a file is in the way",
    ),
    "theory: a view is damaged": ("run", ["theory", "--config.views=damaged.npz", "--workdir=w"], "damaged.npz"),
    "theory: work directory is a file": ("run", ["theory", "--workdir=file"], "file: a file is in the way"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_dry_run_refuses_as_the_run_does(row, files, capsys):
    name, words, expected = ROWS[row]
    held = kept_journal("j.sqlite") if "journal" in row else contextlib.nullcontext()
    held = folder_lock("used") if row == "work directory in use" else held
    if "is an input" in row:
        (files / "w").mkdir()
        (files / "w" / "config.json").write_text("{}")
    with held:
        before = sorted(files.rglob("*"))
        dry = refusal(name, words, capsys, dry=True)
        assert sorted(files.rglob("*")) == before, "a dry run writes nothing"
        real = refusal(name, words, capsys, dry=False)
    assert dry == real and expected in dry
    assert (files / "file").read_text() == "mine" and (files / "foreign" / "results.json").read_text() == "mine"


def test_a_file_that_may_not_be_read_is_refused_by_both(files, capsys):
    (files / "ratings.csv").chmod(0)
    if os.access("ratings.csv", os.R_OK):
        pytest.skip("this user may read every file (root)")
    words = ["pairs.jsonl", "ratings.csv", *FIT]
    dry, real = (refusal("fit", words, capsys, dry) for dry in (True, False))
    assert dry == real and "ratings.csv: cannot be read: Permission denied" in dry


def test_a_dry_run_of_what_can_be_done_lists_its_stages(files, capsys):
    with flagsaver.flagsaver():
        run.main(["fit", *expanded(COMMANDS["fit"], ["pairs.jsonl", "ratings.csv", *FIT]), "--dry_run"])
    assert "ingest: to do" in capsys.readouterr().out and not (files / "w").exists()
