"""All commands and all their outputs, in one table: none writes over an input, over somebody's file, or beside another.

Every command is begun for real, in this process, and refused before it does any work.
"""

import contextlib
import importlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import flags

from encore_jax.cli import ablate, export, judge_agreement, reliability, run, score, select_pool, sweep, theory
from encore_jax.cli.command import define_config
from encore_jax.command_line import one_line_errors
from encore_jax.data.lock import folder_lock, output_lock
from encore_jax.rules import Rule, RulePool
from tests.data.judged_files import write_llmbar
from tests.experiments import tiny_reward_model


@contextlib.contextmanager
def fresh_flags():
    """The flags of one command alone, as in a process of its own."""

    defined_in = flags.FLAGS.find_module_defining_flag

    def ours():
        return [name for name in flags.FLAGS if not str(defined_in(name)).startswith("absl")]

    before = {name: (flags.FLAGS[name], defined_in(name)) for name in ours()}
    for name in before:
        delattr(flags.FLAGS, name)
    try:
        yield
    finally:
        for name in ours():
            delattr(flags.FLAGS, name)
        for name, (flag, module) in before.items():
            flags.FLAGS[name] = flag
            flags.FLAGS.register_flag_by_module(module, flag)


def absl_command(module, define=None):
    def main(*arguments):
        with fresh_flags():
            importlib.reload(module)
            (define or getattr(module, "define_flags", lambda: None))()
            module.main(["command", *arguments])

    return main


def prepare(*arguments):
    with fresh_flags():  # the first import defines its flags, and so does every other one
        module = importlib.import_module("encore_jax.data.rated_comparisons.__main__")
    with fresh_flags():
        importlib.reload(module).main(["prepare", *arguments])


def with_parser(module):
    """Commands whose `main` takes what their parser makes of the arguments."""

    def main(*arguments):
        with one_line_errors():
            module.main(module.parse(arguments))

    return main


class Command(NamedTuple):
    """A command of the table.

    Attributes:
      main: called with its arguments.
      arguments: with {here} for the folder, and {output} for what is written.
      output: the file or folder that the arguments name.
      files: what it writes, as far as somebody else's file may lie there.
      inputs: what it reads.
      lock: "folder" or "output", by what others are kept out; "" where they are waited for.
    """

    main: object
    arguments: tuple[str, ...]
    output: str
    files: tuple[str, ...]
    inputs: tuple[str, ...]
    lock: str


RUN = absl_command(run, define_config)
VIEW = "{here}/view.npz"
TABLE = {
    "run": Command(RUN, ("--config=theory", "--config.views=('" + VIEW + "',)", "--workdir={output}"), "w",
                   ("w/results.json", "w/report.html", "w/config.json", "w/check/x"), ("view.npz",), "folder"),
    "theory": Command(absl_command(theory), ("--view=" + VIEW, "--workdir={output}"), "w",
                      ("w/results.json", "w/report.html", "w/config.json", "w/check/x"), ("view.npz",), "folder"),
    "ablate": Command(absl_command(ablate), ("--scores=" + VIEW, "--workdir={output}"), "w",
                      ("w/results.json", "w/report.html", "w/prepare/x", "w/decide/x"), ("view.npz",), "folder"),
    "benchmark": Command(RUN, ("--config=rewardbench", "--config.model={here}/model", "--config.data={here}/rows.jsonl",
                               "--workdir={output}"), "w", ("w/results.json", "w/official/x", "w/score/x"),
                         ("rows.jsonl",), "folder"),
    "rating": Command(RUN, ("--config=rate_table", "--config.data.source=files", "--config.data.path={here}/rows.jsonl",
                            "--config.data.ratings_path={here}/rated.jsonl", "--workdir={output}"), "w",
                      ("w/results.json", "w/rate/x"), ("rows.jsonl",), "folder"),
    "quickstart": Command(RUN, ("--config=quickstart", "--workdir={output}"), "w",
                          ("w/results.json", "w/audit.html", "w/train/x", "w/compose/x"), (), "folder"),
    "sweep": Command(absl_command(sweep), ("--config=theory", "--grid=seed=0,1", "--workdir={output}"), "w",
                     ("w/table.md", "w/table.csv", "w/table.json"), (), "folder"),
    "score": Command(absl_command(score), ("--model={here}/model", "--input={here}/rows.jsonl", "--output={output}"),
                     "out.parquet", ("out.parquet",), ("rows.jsonl", "model/passport.json"), "output"),
    "score, best": Command(absl_command(score), ("--model={here}/model", "--input={here}/rows.jsonl", "--best={output}",
                                                 "--output={here}/o.parquet"),
                           "best.jsonl", ("best.jsonl",), ("rows.jsonl", "model/passport.json"), "output"),
    "export": Command(lambda *a: export.main(a), ("--workdir={here}/finished", "--out={output}"), "out",
                      ("out/x", "out"), (), "output"),
    "select_pool": Command(with_parser(select_pool), ("--candidates={here}/pool.yaml", "--ratings={here}/rated.jsonl",
                                                      "--size=1", "--out={output}"),
                           "out.yaml", ("out.yaml", "out.report.json"), ("pool.yaml",), "output"),
    "reliability": Command(with_parser(reliability), (VIEW, "--draws=20", "--out={output}"),
                           "out.html", ("out.html",), ("view.npz",), "output"),
    "real_judges": Command(RUN, ("--config=real_judges", "--config.data.path={here}/judges", "--workdir={output}"), "w",
                           ("w/results.json", "w/report.html", "w/measure/x"), ("judges/ratings.jsonl",), "folder"),
    "judge_agreement": Command(with_parser(judge_agreement), ("--data={here}", "--out={output}"), "out",
                               ("out/agreement.json", "out/agreement.md"), (), "folder"),
    "prepare": Command(prepare, ("--path={here}/rows.jsonl", "--data_dir={output}"), "data", (), (), ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one small input of every kind."""
    folder = tmp_path_factory.mktemp("files")
    tiny_reward_model.write(folder)
    pool = RulePool([Rule("a", "Be kind."), Rule("b", "Be brief.")], "two")
    pool.to_yaml(folder / "pool.yaml")
    rows = [{"prompt": f"{i}", "response": "x", "ratings": {"a": 0.1 * i, "b": 1 - 0.1 * i}} for i in range(4)]
    (folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rows.jsonl").write_text(json.dumps({"prompt": "Hi", "chosen": "a", "rejected": "b"}) + "\n")
    (folder / "view.npz").write_bytes(b"view")
    write_llmbar(folder / "judges")
    return folder


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "here"


def contents(folder):
    """Every file, by its path, with what it holds; locks are empty and do not count."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or (path.is_file() and path.name != ".lock")
    }


def refused(command, here, output, capsys):
    """The one line with which a command refuses; nothing has changed then."""
    before = contents(here)
    arguments = [argument.format(here=here, output=output) for argument in command.arguments]
    with pytest.raises(SystemExit) as stopped:
        command.main(*arguments)
    error = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and error[-1].startswith("error: "), error
    assert contents(here) == before
    return error[-1]


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, command in TABLE.items() for file in command.files])
def test_somebody_elses_file_is_not_replaced(here, capsys, name, file):
    command = TABLE[name]
    (here / file).parent.mkdir(parents=True, exist_ok=True)
    (here / file).write_text("mine")
    line = refused(command, here, here / command.output, capsys)
    assert "--overwrite" in line or "is in use" in line, line


@pytest.mark.parametrize("name", [name for name, command in TABLE.items() if command.lock])
def test_two_processes_do_not_share_an_output(here, capsys, name):
    command = TABLE[name]
    with {"folder": folder_lock, "output": output_lock}[command.lock](here / command.output):
        assert "is in use by process" in refused(command, here, here / command.output, capsys)


SAME = [
    (name, file, how)
    for name, command in TABLE.items()
    for file in command.inputs
    for how in (("itself",) if command.lock == "folder" else ("itself", "symbolic", "hard"))
]
"""Every input of every command under every name that it can have as an output."""


@pytest.mark.parametrize(("name", "file", "how"), SAME)
def test_no_output_is_an_input(here, capsys, name, file, how):
    command = TABLE[name]
    output = here / file if how == "itself" else here / f"link{Path(command.output).suffix}"
    if how == "symbolic":
        output.symlink_to(here / file)
    elif how == "hard":
        os.link(here / file, output)
    line = refused(command, here, output, capsys)
    in_a_folder = how == "hard" and "/" in file  # the other name keeps what it names
    assert how == "itself" or "the input" in line or (in_a_folder and "--overwrite" in line), line


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("place", ["file/below", "x" * 300])
def test_places_that_cannot_be_are_one_line(here, capsys, name, place):
    (here / "file").write_text("mine")
    refused(TABLE[name], here, here / place / TABLE[name].output, capsys)
