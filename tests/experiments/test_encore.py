"""The console command: what it lists, what its short forms stand for, and that it starts light."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from encore_jax.cli import doctor
from encore_jax.cli.config import lines_of, meanings_of
from encore_jax.cli.config_file import load_config, shipped_names
from encore_jax.cli.main import COMMANDS, check_given, expanded, help_of, main, usage
from encore_jax.errors import InputError
from encore_jax.settings import fields_of

REPOSITORY = Path(__file__).resolve().parents[2]
ENCORE = [sys.executable, "-m", "encore_jax.cli.main"]


def encore(*words, **options):
    given = {"cwd": REPOSITORY, "capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run([*ENCORE, *words], **given)


def test_every_command_is_a_program_and_is_listed():
    for name, command in COMMANDS.items():
        assert find_spec(command.module) and f"  {name} " in usage()
        assert not command.config or command.config in shipped_names()


@pytest.mark.parametrize(("name", "words", "flags"), [
    ("run", ["quickstart", "--dry-run"], ["--config=quickstart", "--dry-run"]),
    ("run", ["--config=mine.py"], ["--config=mine.py"]),
    ("quickstart", [], ["--config=quickstart"]),
    ("quickstart", ["--config=mine.py"], ["--config=mine.py"]),
    ("quickstart", ["--config", "mine.py"], ["--config", "mine.py"]),
    ("rate", ["p.jsonl", "--config=rate_batch"], ["--config.data.path=p.jsonl", "--config=rate_batch"]),
    ("fit", ["p", "r"], ["--config=encore_hh", "--config.data.path=p", "--config.data.ratings_path=r"]),
    ("evaluate", ["m", "d", "--as=hf"], ["--config=rewardbench", "--config.model=m", "--config.data=d", "--as=hf"]),
    ("score", ["--allow-mismatch", "--tokens-per-batch=8"], ["--allow-mismatch", "--tokens-per-batch=8"]),
    ("reliability", ["a.csv", "--out=x-y.html"], ["a.csv", "--out=x-y.html"]),
    ("run", ["theory", "--config.name=a-b", "--workdir=x-y"],
     ["--config=theory", "--config.name=a-b", "--workdir=x-y"]),
])  # fmt: skip
def test_short_forms_are_what_they_stand_for(name, words, flags):
    assert expanded(COMMANDS[name], words) == flags


@pytest.mark.parametrize(("words", "told"), [
    (["scroe"], "scroe: there is no such command. Fix: did you mean score?"),
    (["--vresion"], "--vresion: there is no such flag"),
    (["run", "quickstart", "again"], "unexpected arguments: again"),
    (["quickstart", "runs/x"], "unexpected arguments: runs/x"),
    (["fit", "a", "b", "c"], "unexpected arguments: c"),
    (["scor\x1b[31me"], "there is no such command"),
])  # fmt: skip
def test_what_it_does_not_know_is_one_line(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    assert stopped.value.code == 2 and not said.out
    assert told in said.err and said.err.count("\n") == 1 and "\x1b" not in said.err


@pytest.mark.parametrize(("words", "told"), [
    (["fit"], "encore fit: PAIRS is missing. Fix: write encore fit PAIRS RATINGS, or encore fit RUN, e.g. encore fit "),
    (["fit", "--config.seed=1"], "encore fit: PAIRS is missing. Fix: write encore fit PAIRS RATINGS, or encore fit RU"),
    (["rate"], "encore rate: PAIRS is missing. Fix: write encore rate PAIRS --config.judge.model=NAME, e.g."),
    (["evaluate"], "encore evaluate: MODEL and PAIRS are missing. Fix: write encore evaluate MODEL PAIRS, e.g."),
    (["evaluate", "m", "--as=hf"], "encore evaluate: PAIRS is missing. Fix: write encore evaluate MODEL PAIRS\n"),
    (["ablate", "--taus=1"], "encore ablate: RUN is missing. Fix: write encore ablate RUN\n"),
    (["run"], "encore run: NAME_OR_FILE is missing. Fix: write encore run NAME_OR_FILE"),
    *(([name], f"encore {name}: ") for name, command in COMMANDS.items() if command.forms),
])  # fmt: skip
def test_a_command_without_what_it_is_about_says_how_it_is_written(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and told in said and said.count("\n") == 1
    assert f"encore {words[0]} {COMMANDS[words[0]].forms[0]}" in said


@pytest.mark.parametrize("words", [
    ["--config.data.path=p"], ["--config=mine.py"], ["--from=runs/rate_server"], ["--config.data.source=pyrit"], ["p"],
])  # fmt: skip
def test_what_flags_say_need_not_be_said_in_words(words):
    check_given("fit", words)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.example])
def test_examples_are_those_of_the_pages_and_help_begins_with_them(name):
    command = COMMANDS[name]
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    text = " ".join(" ".join(page.read_text().replace("\\\n", " ").split()) for page in pages)
    assert command.example in text and f"    {command.example}\n" in help_of(name)
    written = [form.split()[0] for form in command.forms if form[0].isupper()]
    assert not command.means or set(written) <= {word for part, _ in command.means for word in part.split()}


def test_help_of_a_short_form_is_its_own():
    done = encore("fit", "--help")
    assert done.stdout.startswith("encore fit: a reward model") and "quickstart" not in done.stdout, done.stderr
    assert "encore fit PAIRS RATINGS" in done.stdout and "--dry_run" in done.stdout


def test_help_loads_about_fifteen_files_of_this_package():
    code = "import sys; from encore_jax.cli.main import main; main(['--help']); "
    code += "print(*(n for n in sys.modules if n.split('.')[0] in ('encore_jax', 'experiments', 'jax', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert 3 <= len(loaded) <= 15 and not {"jax", "numpy"} & set(loaded)


def test_a_dry_run_makes_nothing_from_any_folder(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "ENCORE_CACHE": str(tmp_path / "cache")}
    done = encore("run", "quickstart", "--dry-run", "--until=train", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "quickstart: ExperimentConfig, runs/quickstart"
    assert "  train: to do" in done.stdout and "report" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["quickstart", "rate_server", "ramo_smollm2", "rewardbench", "theory", "rate_panel"])
def test_every_field_is_listed_with_its_meaning(name):
    config = load_config(name)
    lines = list(lines_of(config))
    assert [line.split(" = ")[0] for line in lines] == list(fields_of(config))
    silent = [line for line in lines if not line.partition("): ")[2] and not line.startswith("judges.")]
    assert len(silent) <= len(lines) // 4, silent


def test_meanings_are_those_of_the_docstring():
    from encore_jax.recipes.data_config import DataConfig

    found = meanings_of(DataConfig)
    assert found["limit"] == "use only so many comparisons, the first by hash; 0 means all."
    assert found["path"] == found["format"] and found["offline"].startswith("fetch nothing")


def test_the_doctor_says_what_is_missing_and_what_to_type(monkeypatch, capsys):
    absent = ("h11", "aiohttp", "uvicorn")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name in absent else object())
    assert doctor.main() == 0
    told = capsys.readouterr().out
    assert "aiohttp not installed; only for servers that judge  Fix: pip install -e '.[judge]'" in told
    assert "extra serve" in told and "MISSING" not in told
    monkeypatch.setattr(doctor, "CORE", ("no-such-package",))
    assert doctor.main() == 1 and "MISSING no-such-package" in capsys.readouterr().out


def test_names_of_configurations_must_be_known():
    with pytest.raises(InputError, match="did you mean quickstart"):
        load_config("quickstrat")
