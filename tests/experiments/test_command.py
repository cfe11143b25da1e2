"""Command lines that say something wrong: one line, what may have been meant, exit status 2, and nothing is begun."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from hypothesis import given
from hypothesis import strategies as st

from encore_jax.cli import run
from encore_jax.cli.command import define_config
from encore_jax.cli.list_values import list_items, list_text
from encore_jax.cli.overrides import apply_overrides, override_texts
from encore_jax.command_line import BAD_INPUT, FAILED, INTERRUPTED, Parser, one_line_errors
from encore_jax.errors import InputError
from encore_jax.recipes.ablation_config import AblateConfig

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = "--config=quickstart"

if "config" not in flags.FLAGS:
    define_config()


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder; returns its one line of complaint."""
    monkeypatch.chdir(tmp_path)

    def line(*arguments, status=BAD_INPUT):
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
            run.main(["run", *arguments])
        assert stopped.value.code == status
        out, err = capsys.readouterr()
        assert not out and err.startswith("error: ") and err.count("\n") == 1, err
        assert not [path for path in tmp_path.iterdir() if path.is_dir()], "nothing is begun"
        return err

    return line


WRONG = {
    "no config": ([], "--config: is missing"),
    "config without value": (["--config"], "--config: has no value"),
    "empty config": (["--config="], "--config: is empty"),
    "name misspelt": (["--config=quikstart"], "did you mean quickstart"),
    "name misspelt with suffix": (["--config=encore_smolm2.py"], "did you mean encore_smollm2"),
    "path misspelt": (["--config=files/tyni.py"], "no such file.*did you mean files/tiny.py"),
    "folder": (["--config=files"], "is a folder"),
    "nowhere": (["--config=zzzz/qqqq.py"], "give a file with get_config"),
    "long path": (["--config=" + "x" * 5000], "is no path"),
    "null character": (["--config=a\0b"], "is no path|no such file"),
    "argument that is not taken": (["--config=quickstart:big"], "takes no argument"),
    "field misspelt": ([QUICK, "--config.compose.taw=1"], "--config.compose.taw: .*did you mean compose.tau"),
    "field elsewhere": ([QUICK, "--config.tau=1"], "did you mean compose.tau"),
    "group misspelt": ([QUICK, "--config.compse.tau=1"], "did you mean compose.tau"),
    "group": ([QUICK, "--config.train=5"], "is a group of fields.*train.lr"),
    "inner group": ([QUICK, "--config.baselines.gate=5"], "is a group of fields.*baselines.gate.steps"),
    "field of a value": ([QUICK, "--config.seed.x=5"], "no such field"),
    "empty field": ([QUICK, "--config.=5"], "--config."),
    "text for a number": ([QUICK, "--config.train.lr=abc"], "'abc' is not a number.*--config.train.lr=0.001"),
    "number is empty": ([QUICK, "--config.train.lr="], "'' is not a number"),
    "fraction for a count": ([QUICK, "--config.seed=1.5"], "'1.5' is not a whole number"),
    "word for a switch": ([QUICK, "--config.data.offline=maybe"], "'maybe' is not true or false"),
    "tuple cut off": (
        [QUICK, "--config.model.buckets=(1,"],
        "is not values separated by commas or semicol",
    ),
    "tuple of words": ([QUICK, "--config.model.buckets=(a,b)"], "config.model.buckets"),
    "tuple too long": ([QUICK, "--config.compose.scale=(0.0,1.0,2.0)"], "two values separated by commas"),
    "not a number": ([QUICK, "--config.compose.tau=nan"], "nan is no number that float32 holds"),
    "infinite": ([QUICK, "--config.compose.l2=1e999"], "inf is no number that float32 holds"),
    "out of range": ([QUICK, "--config.compose.tau=-1"], "config.compose.tau: -1.0 is out of range.*positive"),
    "huge": ([QUICK, "--config.seed=99999999999999999999"], "out of range"),
    "name that leaves": ([QUICK, "--config.name=../../x"], "config.name: '../../x' is no name of a folder"),
    "override first": (["--config.seed=1.5", QUICK], "'1.5' is not a whole number"),
    "separate value": ([QUICK, "--config.train.lr", "abc"], "'abc' is not a number"),
    "value missing": ([QUICK, "--config.train.lr"], "--config.train.lr: has no value"),
    "value missing before a flag": ([QUICK, "--config.train.lr", "--until=rate"], "has no value"),
    "flag misspelt": ([QUICK, "--wokdir=x"], "--wokdir: there is no such flag.*did you mean --workdir"),
    "flag of a field": ([QUICK, "--tau=1"], "did you mean --config.compose.tau"),
    "flag without value": ([QUICK, "--until"], "--until: has no value"),
    "config misspelt": (["--confg=quickstart"], "--config: is missing|did you mean --config"),
    "stray word": ([QUICK, "quickly"], "unexpected arguments: quickly"),
    "empty workdir": ([QUICK, "--workdir="], "--workdir: is empty"),
    "unknown stage": ([QUICK, "--until=cook"], "there is no stage 'cook'.*ingest"),
    "unknown stage to run again": ([QUICK, "--rerun=cook"], "there is no stage 'cook'.*ingest"),
    "flagfile missing": ([QUICK, "--flagfile=none.txt"], "none.txt"),
    "as without a benchmark": ([QUICK, "--as=hf"], "--as: is for benchmarks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_line(command, name, tmp_path, monkeypatch):
    arguments, words = WRONG[name]
    if "files" in str(arguments):
        monkeypatch.setattr(Path, "is_dir", lambda self: self.name == "files")
        monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("files/tiny.py")]))
    assert re.search(words, command(*arguments)), command


IMPORT = "from encore_jax.recipes.config import *\n"
FILES = {
    "SyntaxError": ("def get_config(:\n", r"bad.py:1: SyntaxError"),
    "IndentationError": ("def get_config():\nreturn 1\n", r"bad.py:2: IndentationError"),
    "NameError": ("\n\nx = nobody\n", r"bad.py:3: NameError: name 'nobody'"),
    "ImportError": ("import nothing_of_the_kind\n", r"bad.py:1: ModuleNotFoundError.*nothing_of_the_kind"),
    "error inside": ("def get_config():\n    return 1 / 0\n", r"bad.py:2: ZeroDivisionError"),
    "exit": ("import sys\nsys.exit(3)\n", r"bad.py:2: SystemExit"),
    "recursion": ("def get_config():\n    return get_config()\n", r"bad.py:2: RecursionError"),
    "no function": ("x = 1\n", r"has no function get_config"),
    "no callable": ("get_config = 1\n", r"has no function get_config"),
    "no return": ("def get_config():\n    pass\n", r"get_config returns None: it has no return"),
    "a dict": ("def get_config():\n    return {}\n", r"get_config returns a dict"),
    "needs an argument": ("def get_config(size):\n    return size\n", r"needs an argument.*bad.py:ARGUMENT"),
    "null character": ("x = 1\0\n", r"bad.py"),
    "no text": (b"\xff\xfe\x00", r"bad.py"),
    "unknown field": (
        IMPORT + "def get_config():\n    return TrainConfig(lrr=1.0)\n",
        r"bad.py:3: TypeError.*did you mean lr",
    ),
    "unknown attribute": (
        IMPORT + "def get_config():\n    c = ExperimentConfig()\n    c.train.lrr = 1.0\n    return c\n",
        r"bad.py:4: AttributeError: TrainConfig has no field 'lrr'; did you mean 'lr'",
    ),
    "wrong type": (
        IMPORT + "def get_config():\n    return ExperimentConfig(train=TrainConfig(lr='abc'))\n",
        r"config.train.lr: 'abc' is no number",
    ),
    "list for a tuple": (
        IMPORT + "def get_config():\n    return ExperimentConfig(model=ModelConfig(buckets=[64]))\n",
        r"config.model.buckets: \[64\] is not values in brackets",
    ),
    "group of a wrong kind": (
        IMPORT + "def get_config():\n    return ExperimentConfig(train=5)\n",
        r"config.train: 5 is ",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_users_own_file_is_told_by_its_line(command, name, tmp_path):
    content, words = FILES[name]
    (tmp_path / "bad.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert re.search(words, command("--config=bad.py"))


def test_errors_of_the_system_are_one_line_too(capsys):
    cases = [
        (OSError(28, "No space left on device", "x/y"), FAILED, "x/y: no room is left"),
        (ValueError("1000 requested and 10 written"), FAILED, "no room is left"),
        (PermissionError(13, "Permission denied", "a\nb"), FAILED, r"a\nb: Permission denied"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (MemoryError(), FAILED, "not enough memory"),
        (InputError("bad", where="here", fix="good"), BAD_INPUT, "here: bad. Fix: good"),
    ]
    for error, status, words in cases:
        with pytest.raises(SystemExit) as stopped, one_line_errors():
            raise error
        assert stopped.value.code == status
        err = capsys.readouterr().err
        assert words in err and err.count("\n") == 1
    with pytest.raises(SystemExit), one_line_errors():
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("a library's own words") from error
    assert "no room is left" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError), one_line_errors():  # a fault of ours is not hidden
        raise ZeroDivisionError


def test_flags_of_absl_have_underscores_and_are_taken_with_dashes_too():
    """A flag whose own name has a dash would be taken in one spelling only."""
    for file in (REPOSITORY / "encore_jax").rglob("*.py"):
        names = re.findall(r'DEFINE_\w+\(\s*"([^"]+)"', file.read_text())
        assert not [name for name in names if "-" in name], file


@pytest.mark.parametrize("words", [["experiments.run", "--config=theory"], ["encore_jax.cli.theory"]])
def test_a_module_takes_flags_with_dashes(words, tmp_path):
    words = ["-m", *words, "--workdir", str(tmp_path / "new"), "--no-dry-run", "--dry-run"]
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "report" in done.stdout, done.stderr
    assert not (tmp_path / "new").exists()


def test_flags_of_argparse_are_told_alike():
    parser = Parser()
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", required=True)
    parser.add_argument("--method", choices=("greedy", "kdpp"))
    for arguments, words in [
        (["--out=x", "--siez=1"], "--siez: there is no such flag. Fix: did you mean --size"),
        (["--out=x", "--size=big"], "--size: invalid int value: 'big'"),
        (["--out=x", "--size"], "--size: expected one argument"),
        ([], "the following arguments are required: --out"),
        (["--out=x", "word"], "unexpected arguments: word"),
        (["--out=x", "--method=best"], "--method: invalid choice: 'best'"),
        (["--ou=x"], "--out|--ou"),
    ]:
        with pytest.raises(InputError, match=words):
            parser.parse_args(arguments)


def test_every_command_has_help_and_refuses_what_it_does_not_know():
    """On a machine without any extra, so without what only some commands need."""
    command = [sys.executable, "-m", "tests.experiments.help_of_all"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    told = json.loads(done.stdout)
    some = {"experiments.run", "encore_jax.cli.main", "encore_jax.serve", "encore_jax.data.rated_comparisons"}
    assert some <= told.keys()
    for module, (asked, wrong) in ((module, told[module].values()) for module in told):
        assert asked["status"] == 0 and len(asked["output"]) > 100, (module, asked)
        assert wrong["status"] == 2 and "Traceback" not in wrong["output"], (module, wrong)
        if module != "experiments.benchmarks.easydel_side":  # runs where this package is not installed
            assert wrong["output"].startswith("error: ") and wrong["output"].count("\n") == 1, (module, wrong)


def test_help_is_printed_and_nothing_looked_for(tmp_path):
    """As a user's machine has it: no platform is named, and the TPU compiler may be installed."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY")
    }
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "--help"],
        cwd=tmp_path, env=environment | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "--workdir" in done.stdout


def test_a_run_without_a_tpu_says_nothing_of_tpus(tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if key not in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY")
    }
    code = (
        "from encore_jax.command_line import one_line_errors\n"
        "from encore_jax.cli.command import start_logging\nimport jax\n"
        "with one_line_errors():\n    start_logging()\n    print(jax.devices()[0].platform)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


LISTS = {
    "semicolons": ("grids", "3 bins;5 bins", ("3 bins", "5 bins")),
    "commas": ("grids", "3 bins, 5 bins", ("3 bins", "5 bins")),
    "one value with a space": ("grids", "3 bins", ("3 bins",)),
    "as Python writes it": ("grids", "('3 bins', '5 bins')", ("3 bins", "5 bins")),
    "brackets without quotes": ("grids", "(3 bins, 5 bins)", ("3 bins", "5 bins")),
    "infinity": ("taus", "0.5;1;inf", (0.5, 1.0, float("inf"))),
    "a single number": ("taus", "2", (2.0,)),
    "a list with a comma at its end": ("taus", "(2,)", (2.0,)),
    "a range": ("seeds", "0..3", (0, 1, 2, 3)),
    "two numbers": ("scale", "1,5", (1.0, 5.0)),
    "words": ("agreement", "no,yes", ("no", "yes")),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_written_so_that_no_shell_fights_them(name):
    field, text, values = LISTS[name]
    overrides = {field: [f"--config.{field}={text}"]}
    assert getattr(apply_overrides(AblateConfig(), overrides), field) == values
    again = override_texts(AblateConfig(), overrides)[field]
    assert getattr(apply_overrides(AblateConfig(), {field: [f"--config.{field}={again}"]}), field) == values


def test_a_list_flag_given_again_and_again_collects_its_values():
    overrides = {"grids": ["--config.grids=3 bins", "--config.grids=5 bins;7 bins"]}
    assert apply_overrides(AblateConfig(), overrides).grids == ("3 bins", "5 bins", "7 bins")
    assert override_texts(AblateConfig(), overrides) == {"grids": "3 bins;5 bins;7 bins"}


@pytest.mark.parametrize("text", ["1,,2", "0..", "3..1", "a", "1;b", "0..99999999", "'1"])
def test_lists_of_numbers_that_are_none_are_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"--config.seeds: .* is not values.*Fix: e.g. --config.seeds=0"):
        apply_overrides(AblateConfig(), {"seeds": [f"--config.seeds={text}"]})


@given(st.lists(st.text(st.characters(exclude_characters="\"'", codec="ascii", exclude_categories=["Cc"])), max_size=4))
def test_items_of_a_list_survive_as_one_text(items):
    items = [item.strip() for item in items]
    assert list_items(list_text(items)) == items
