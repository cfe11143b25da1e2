"""A folder of one run's inputs is not replaced by a run on others, whichever command it is; settings may change."""

import json

import pytest

from encore_jax.cli import reliability
from encore_jax.cli.config_file import load_config
from encore_jax.data.manifest import BEGUN, MANIFEST
from encore_jax.errors import InputError
from encore_jax.recipes.outside import Outside, Probe, Record, inputs_read
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.reward_model_files import RuleWeights
from encore_jax.recipes.run import plan_of, recipe_of, stages_of
from encore_jax.recipes.run_config import to_dict
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading
from encore_jax.recipes.workdir import CONFIG, MARK, kept_for, kind_of
from encore_jax.settings import fields_of
from tests.data.test_manifest import write_stage
from tests.experiments.test_run_experiment import RECIPES

NAMES = sorted(set(RECIPES) - {"real_judges", "quickstart"})
VIEWS = ("one.npz",)
FILES = {"data.path": "one.jsonl", "model": "one", "data": "one.jsonl", "judge.model": "name", "scores": "one.npz"}


def configured(name, **fields):
    """A shipped configuration with the fields that it must be given, and others."""
    config = load_config(name)
    given = {field: value for field, value in FILES.items() if isinstance(fields_of(config).get(field), str)}
    given |= ({"views": VIEWS} if "views" in fields_of(config) else {}) | fields
    for field, value in given.items():
        group = config
        *groups, last = field.split(".")
        for part in groups:
            group = getattr(group, part)
        setattr(group, last, value)
    return config


def begun(config, workdir):
    """As a run that has ended leaves its work directory, but for what is in the files."""
    workdir.mkdir()
    recipe, plan = recipe_of(config), plan_of(config, workdir)
    (workdir / MARK).write_text(json.dumps({"kind": kind_of(recipe)}))
    (workdir / CONFIG).write_text(json.dumps(to_dict(config)))
    for folder in plan.at.values():
        folder.mkdir()
        (folder / "output").write_text("mine")
        (folder / BEGUN).write_text("{}")
    return plan


def fields_read(config, tmp_path):
    plan = plan_of(config, tmp_path)
    arguments = [one for stage in plan.stages for one in plan.call(stage).arguments.values()]
    return {field for one in arguments for field in inputs_read(one)} & fields_of(config).keys(), arguments


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch):
    monkeypatch.setattr(AblationSource, "view", lambda *_: None)
    for name in ("check_there", "check_inputs", "read_sources"):  # tests/experiments/test_inputs_there.py
        monkeypatch.setattr(Plan, name, lambda *_: None)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_of_every_recipe_is_refused_when_it_is_another(name, tmp_path):
    config = configured(name)
    begun(config, tmp_path / "w")
    before = sorted((path, path.read_bytes()) for path in (tmp_path / "w").rglob("*") if path.is_file())
    for field in sorted(fields_read(config, tmp_path)[0] - {"data.source"}):
        now = fields_of(config)[field]
        changed = configured(name, **{field: (*now, "hf://other") if isinstance(now, tuple) else "hf://other/one"})
        match = f"w: holds a run on other inputs: .*--config.{field}=.* not .*--workdir=FOLDER, or --overwrite"
        with pytest.raises(InputError, match=match):
            stages_of(changed, tmp_path / "w")
        plan, recipe = plan_of(changed, tmp_path / "w"), recipe_of(changed)
        with pytest.raises(InputError, match=match), kept_for(changed, recipe, plan):
            pass
        after = sorted((path, path.read_bytes()) for path in (tmp_path / "w").rglob("*") if path.is_file())
        assert before == [one for one in after if one[0].name != ".lock"]
        assert stages_of(changed, tmp_path / "w", overwrite=True)
    with kept_for(changed, recipe, plan, overwrite=True):
        pass
    assert json.loads((tmp_path / "w" / CONFIG).read_text()) == to_dict(changed)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_stage_reads_from_outside_says_which_field_names_it(name, tmp_path):
    fields, arguments = fields_read(configured(name), tmp_path)
    outside = [one for one in arguments if isinstance(one, Outside)]
    assert fields
    for one in outside:
        assert inputs_read(one) or isinstance(one, Probe | Record | RuleWeights)


@pytest.mark.parametrize("name", NAMES)
def test_changed_settings_go_on_in_the_same_folder(name, tmp_path):
    begun(configured(name), tmp_path / "w")
    changed = configured(name, seed=7)
    assert stages_of(changed, tmp_path / "w")
    with kept_for(changed, recipe_of(changed), plan_of(changed, tmp_path / "w")):
        pass


def test_a_mistyped_input_of_a_run_that_read_nothing_is_no_hindrance(tmp_path):
    config = configured("encore_hh", **{"data.path": "pears.jsonl"})
    plan = begun(config, tmp_path / "w")
    for folder in plan.at.values():
        (folder / "output").unlink()
    assert stages_of(configured("encore_hh"), tmp_path / "w")
    (plan.at["ingest"] / MANIFEST).write_text("{}")  # the data were read, and the model is still the wrong one
    assert stages_of(configured("encore_hh", **{"data.path": "pears.jsonl", "model.path": "hf://o/n"}), tmp_path / "w")


def test_a_moved_file_that_holds_what_it_held_is_the_same_input_and_so_is_an_edited_one(tmp_path):
    first, moved = tmp_path / "one.csv", tmp_path / "moved.csv"
    first.write_text("a")
    config = benchmark(first)
    plan = begun(config, tmp_path / "w")
    for stage in plan.stages:
        read = {name: value.key() for name, value in plan.call(stage).arguments.items() if "data" in inputs_read(value)}
        if read:
            (plan.at[stage] / BEGUN).write_text(json.dumps({"arguments": read}, default=list))
    first.write_text("b")
    assert stages_of(config, tmp_path / "w")
    moved.write_text("a")
    assert stages_of(benchmark(moved), tmp_path / "w")
    moved.write_text("c")
    with pytest.raises(InputError, match="holds a run on other inputs: --config.data="):
        stages_of(benchmark(moved), tmp_path / "w")
    with pytest.raises(InputError, match="nowhere.csv"):
        stages_of(benchmark(tmp_path / "nowhere.csv"), tmp_path / "w")


def benchmark(path):
    return configured("rewardbench", data=str(path))


@pytest.mark.parametrize("command", ["ablate", "reliability"])
def test_a_run_whose_stages_are_of_two_runs_gives_no_numbers(tmp_path, command, monkeypatch):
    write_stage(tmp_path / "ingest", pairs="pairs")
    write_stage(tmp_path / "score", ["ingest"], **{"view-heads.npz": "scores"})
    write_stage(tmp_path / "ingest", pairs="other pairs")
    with pytest.raises(InputError, match="score: was made from another run's stage ingest"):
        if command == "ablate":
            monkeypatch.undo()
            AblationSource(str(tmp_path)).view(Reading())
        else:
            reliability.main(reliability.parse([str(tmp_path / "score" / "view-heads.npz")]))
