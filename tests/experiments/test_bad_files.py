"""A FILE that is none is refused in one line by every command, at once, with what to write instead."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from encore_jax.errors import InputError
from encore_jax.files import check_file_words
from tests.experiments.bad_files import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SAID = {
    "dash": "-x.csv: begins with a dash, as flags do. Fix: if it is a file, write ./-x.csv",
    "two dashes": "--x.csv: begins with a dash, as flags do. Fix: if it is a file, write ./--x.csv",
    "empty": "is empty",
    "slash": "is a file, and its name ends in a slash",
    "pipe": "no regular file|is a pipe or a device",
    "socket": "no regular file|is a pipe or a device",
    "device": "no regular file|is a pipe or a device|does not tell its format",
    "loop": "Too many levels of symbolic links",
    "link to nothing": "is a link to nothing",
    "line break": r"no\nwhere.csv: no such file|no\nwhere.csv: there is no such file|is missing",
    "null": "null character|null byte|no such file|there is no such file|is no path",
}


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-m", "tests.experiments.bad_files"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_none_is_one_line(command, carried):
    told = {key: value for key, value in carried["told"].items() if key.startswith(f"{command}: ")}
    assert len(told) >= 8 and not carried["made"], "nothing is begun"
    for key, value in told.items():
        errors = [line for line in value["output"].splitlines() if line.startswith("error: ")]
        assert value["status"] == 2 and len(errors) == 1 and "Traceback" not in value["output"], (key, value)
        kind = key.rpartition(": ")[2]
        if "export" not in command:  # whose file is looked for in the folder that is none
            assert any(words in errors[0] for words in SAID[kind].split("|")), (key, errors)


@pytest.mark.parametrize("words", [["-", "--"], ["--seed=1.csv"], ["--", "-x.csv"], ["--config.data.path", "a.csv"]])
def test_what_may_be_a_flag_or_follows_the_end_of_flags_is_none_of_these(words):
    check_file_words(words)


def test_a_file_of_any_name_that_begins_with_a_dash_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_file_words(["-mine"])
    (tmp_path / "-mine").write_text("")
    with pytest.raises(InputError, match="-mine: begins with a dash.*write ./-mine"):
        check_file_words(["-mine"])
