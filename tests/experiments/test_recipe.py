"""Stages as calls: what runs again when, what functions are given, and what is refused."""

import contextlib
import json
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from encore_jax.data.digest import file_sha256
from encore_jax.errors import InputError
from encore_jax.lazy import Deferred
from encore_jax.recipes import pipeline
from encore_jax.recipes.artefact import Artefact, read, write
from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.outside import OneFile, Outside
from encore_jax.recipes.pipeline import LastStage, Pipeline
from encore_jax.recipes.plan import Plan

CALLS: list[str] = []


class Numbers(NamedTuple):
    values: np.ndarray
    mean: float
    names: dict[str, str]
    nothing: None = None


class Text(NamedTuple):
    text: str

    def save(self, folder: Path) -> None:
        (folder / "text.txt").write_text(self.text)

    @classmethod
    def load(cls, folder: Path) -> "Text":
        return cls((folder / "text.txt").read_text())


def make(source: OneFile, factor: int, note: str = "") -> Numbers:
    CALLS.append("make")
    values = np.frombuffer(source.path.read_bytes(), np.uint8) * np.float32(factor)
    return Numbers(values, float(values.mean()), {"note": note})


def describe(numbers: Numbers, settings: ModelConfig, folder: Path) -> Text:
    CALLS.append("describe")
    (folder / "begun").mkdir(exist_ok=True)
    return Text(f"{settings.dtype} {numbers.mean:.2f} {numbers.values.sum():.0f}")


def sum_up(text: Text | None, where: Path) -> dict:
    CALLS.append("sum up")
    return {"text": text.text if text else "", "files": sorted(path.name for path in where.iterdir())}


def shown(results: dict, text: Text) -> None:
    CALLS.append(f"{results['text']}|{text.text}")


@pytest.fixture
def run(tmp_path):
    """Runs three stages over a file; returns what was called, and results.json."""
    source = tmp_path / "source.bin"
    source.write_bytes(b"abc")

    def run(factor=2, note="", aside="", dtype="float32", path="hub", **options):
        CALLS.clear()
        stage = Pipeline(tmp_path / "w", **options)
        numbers = stage("make", make, OneFile(str(source)), factor, aside={"note": aside})
        text = stage("describe", describe, numbers, ModelConfig(path=path, dtype=dtype))
        results = stage("report", sum_up, text, where=text)
        stage.always(shown, results, text)
        return list(CALLS), json.loads((tmp_path / "w" / "report" / "results.json").read_text())

    run.source, run.workdir = source, tmp_path / "w"
    return run


ALL = ["make", "describe", "sum up"]


def test_functions_get_what_earlier_ones_made_and_run_once(run):
    calls, results = run()
    assert calls[:3] == ALL and results["text"] == "float32 196.00 588"
    assert {"text.txt", "inputs.json", "manifest.json", "begun"} == set(results["files"])
    assert run()[0] == [f"{results['text']}|{results['text']}"], "only what is always called"


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"factor": 3}, ALL), ({"dtype": "bfloat16"}, ALL[1:]), ({"path": "elsewhere"}, ["describe"]),
        ({"rerun": "describe"}, ["describe"]), ({"aside": "worth it"}, []),
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_runs_again_and_what_follows_from_it(run, change, again):
    run()
    assert run(**change)[0][:-1] == again


def test_a_file_from_outside_that_changed_runs_its_stage_again(run):
    run()
    run.source.write_bytes(b"abd")
    assert run()[0][:-1] == ALL


def test_a_changed_function_runs_its_stage_again(run, monkeypatch):
    run()
    real = pipeline.code_digest
    monkeypatch.setattr(pipeline, "code_digest", lambda function: real(function) + "x" * (function is describe))
    assert run()[0][:-1] == ["describe"], "it wrote the same, so nothing follows"


def test_the_last_stage_wanted_is_the_last_that_runs(run, tmp_path):
    with pytest.raises(LastStage):
        run(until="describe")
    assert CALLS == ["make", "describe"] and not (tmp_path / "w" / "report").exists()
    assert run(until="report")[0][0] == "sum up", "and what is always called is, after the last stage of all"


def test_a_stage_that_is_not_wanted_is_not_imported(tmp_path):
    CALLS.clear()
    missing, made = Deferred("encore_jax.no_such_module", "make"), Deferred(__name__, "make")
    source = tmp_path / "source"
    source.write_text("1")
    for stage in (Plan(tmp_path / "w"), Pipeline(tmp_path / "w", until="make")):
        stage("make", made, OneFile(str(source)), 2)
        with pytest.raises(LastStage) if isinstance(stage, Pipeline) else contextlib.nullcontext():
            stage("describe", missing)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        Pipeline(tmp_path / "w")("make", missing)


def test_a_plan_runs_nothing_and_knows_what_depends_on_what(run):
    plan = Plan(run.workdir)
    numbers = plan("make", make, OneFile(str(run.source)), 2, aside={"note": "n"})
    plan("describe", describe, numbers, ModelConfig())
    assert plan.stages == ("make", "describe") and not CALLS[3:] and not run.workdir.exists()
    key = plan.call("make").key()
    assert key["arguments"] == {"source": file_sha256(run.source), "factor": 2}
    assert plan.call("describe").key()["make"] == {"made": "by make"}
    assert plan.given(ModelConfig).keys() == {"describe"} and not plan.complete("make")


@pytest.mark.parametrize(
    ("value", "problem"),
    [(Path("x"), "cannot depend on a PosixPath"), (np.zeros(2), "cannot depend on a ndarray"), (object(), "key()")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_hash_is_no_argument(tmp_path, value, problem):
    with pytest.raises(TypeError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        Pipeline(tmp_path)("make", make, value, 2)


def test_a_forgotten_argument_is_named(tmp_path):
    plan = Plan(tmp_path)
    plan("make", make, OneFile(""))
    with pytest.raises(TypeError, match="make is not given factor"):
        plan.call("make")


@pytest.mark.parametrize("others", [[True, True], [True, False], [False, False]], ids=str)
def test_processes_skip_a_stage_only_if_it_is_complete_on_all_of_them(run, monkeypatch, others):
    """It waits for all of them: one that skipped it would leave the others waiting."""
    run()
    monkeypatch.setattr(pipeline, "all_same_everywhere", lambda *told: None)
    monkeypatch.setattr(pipeline, "on_every_process", lambda flag: np.array(others if flag else [False, False]))
    assert run(together=True)[0][:-1] == ([] if all(others) else ALL)


def test_processes_compare_all_but_what_earlier_stages_wrote(run, monkeypatch):
    told = []
    monkeypatch.setattr(pipeline, "all_same_everywhere", lambda what, value, fix: told.append((what, value)))
    run(together=True)
    assert [what for what, _ in told] == [f"what stage {name} depends on" for name in ("make", "describe", "report")]
    assert [sorted(value) for _, value in told] == [
        ["code", "factor", "function", "source"], ["code", "function", "settings"], ["code", "function"],
    ]  # fmt: skip


def test_a_process_that_cannot_say_what_it_depends_on_tells_the_others(tmp_path, monkeypatch):
    told = []

    class Broken(Outside):
        def key(self):
            raise InputError("is gone", where="a file")

    monkeypatch.setattr(pipeline, "all_same_everywhere", lambda what, value, fix: told.append(value))
    with pytest.raises(InputError, match="is gone"):
        Pipeline(tmp_path, together=True)("make", make, Broken(), 2)
    assert told == [None]


VALUES = {
    "arrays and JSON": Numbers(np.arange(6, dtype=np.float32).reshape(2, 3), 0.1, {"a": "ü"}),
    "its own files": Text("so"),
    "results": {"accuracy": 0.1, "n": 3, "rows": [1.5, None], "nested": {"x": "y"}},
}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_written_is_read(tmp_path, name):
    write(VALUES[name], tmp_path)
    found = read(type(VALUES[name]), tmp_path)
    if name == "arrays and JSON":
        assert np.array_equal(found.values, VALUES[name].values) and found[1:] == VALUES[name][1:]
    else:
        assert found == VALUES[name]


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [("values.npy", b"garbage", "is no array"), ("values.npy", None, "holds no values"), ("fields.json", b"{", "JSON"),
     ("fields.json", b'{"mean": 1}', "holds no names, nothing")],
    ids=str,
)  # fmt: skip
def test_what_is_broken_is_named(tmp_path, file, content, problem):
    write(VALUES["arrays and JSON"], tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read(Numbers, tmp_path)


@pytest.mark.parametrize("kind", [int, types.SimpleNamespace])
def test_other_values_are_no_artefacts(tmp_path, kind):
    with pytest.raises(TypeError):
        write(kind(), tmp_path)
    with pytest.raises(TypeError):
        read(kind, tmp_path)


def test_a_handle_reads_once_and_only_when_asked(tmp_path):
    handle = Artefact("made", tmp_path, {})
    write(Text("so"), tmp_path)
    assert handle.read(Text) is handle.read(Text | None) and handle.read(Path) == tmp_path == handle.read(None)
