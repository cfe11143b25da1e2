"""What an experiment hands on to its recipe, on one process and on several: nothing that was asked for gets lost."""

import contextlib
import pkgutil
from types import SimpleNamespace

import pytest

from encore_jax import recipes
from encore_jax.cli.config_file import load_config
from encore_jax.errors import InputError
from encore_jax.recipes import run
from encore_jax.recipes.judging_together import Role
from encore_jax.recipes.run_config import to_dict

RECIPES = {
    "quickstart": "encore", "encore_hh": "encore", "bt_smollm2": "bradley_terry",
    "ramo_smollm2": "ramo", "joint_smollm2": "joint",
    "rule_adapter_smollm2": "rule_adapter", "rate_server": "rating", "rate_pairs": "verdicts", "rate_panel": "panel",
    "real_judges": "real_judges", "rewardbench": "benchmark", "ablation": "ablation", "theory": "theory",
}  # fmt: skip


def config(name="quickstart"):
    return load_config(name)


@pytest.mark.parametrize("name", RECIPES)
def test_every_configuration_has_its_recipe(name, tmp_path):
    recipe, plan = run.recipe_of(config(name)), run.plan_of(config(name), tmp_path)
    assert recipe.__name__.rpartition(".")[2] == RECIPES[name] and "results.json" in recipe.PUBLISHED
    assert plan.at == {stage: tmp_path / stage for stage in plan.stages} and plan.stages[-1] == "report"
    assert not list(tmp_path.iterdir())


def test_every_recipe_is_some_configurations():
    modules = [found.name for found in pkgutil.iter_modules(recipes.__path__)]
    sources = {name: next(iter(recipes.__path__)) + f"/{name}.py" for name in modules}
    found = {name for name, path in sources.items() if path and "\ndef run(config" in _text(path)}
    assert found == set(RECIPES.values()) - {"real_judges"}


def _text(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:  # a package
        return ""


@pytest.fixture
def called(monkeypatch):
    """Which functions an experiment calls, in order, with what."""
    calls = []

    def spy(name, context=False):
        def call(*args, **options):
            calls.append((name, args, options))
            return contextlib.nullcontext() if context else None

        monkeypatch.setattr(run, name, call)

    for name in ("all_same_everywhere", "check_rerun", "Pipeline"):
        spy(name)
    spy("kept_for", context=True)
    real = run.recipe_of

    def recipe_of(config):
        recipe = real(config)
        told = lambda config, stage: recipe.run(config, stage) if stage else calls.append(("run", (config,), {}))  # noqa: E731
        return SimpleNamespace(run=told, PUBLISHED=recipe.PUBLISHED, __name__=recipe.__name__)

    monkeypatch.setattr(run, "recipe_of", recipe_of)
    return calls


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("role", list(Role))
def test_what_was_asked_for_reaches_the_recipe(role, processes, called, tmp_path, monkeypatch):
    monkeypatch.setattr(run.jax, "process_count", lambda: processes)
    monkeypatch.setattr(run, "judging_together", lambda config: contextlib.nullcontext(role))
    one = config()
    run.run_experiment(one, tmp_path, rerun="train", until="score", overwrite=True)
    names = [name for name, _, _ in called]
    if role is Role.FOLLOWER:
        assert names == []
        return
    together = role is Role.ALIKE and processes > 1
    assert names == ["all_same_everywhere"] * together + ["check_rerun", "kept_for", "Pipeline", "run"]
    if together:
        what, command, fix = called[0][1]
        assert command == to_dict(one) | {"rerun": "train", "until": "score"} and "same command" in fix
    (_, (plan, *rerun), _), (_, kept, kept_options), (_, where, options), (_, ran, _) = called[-4:]
    assert plan.stages[0] == "ingest" and rerun == ["train", together]
    assert (
        kept[0] is one
        and kept[2] is plan
        and kept_options == {"overwrite": True, "together": together, "until": "score"}
    )
    assert where == (tmp_path,) and ran == (one,)
    told = {"rerun": "train", "until": "score", "together": together, "overwrite": True}
    assert options == told | {"stages": plan.stages}


@pytest.mark.parametrize("stage", ["rerun", "until"])
def test_a_stage_that_is_not_there_is_refused_before_anything_is_touched(stage, called, tmp_path):
    with pytest.raises(InputError, match="there is no stage 'label' here"):
        run.run_experiment(config(), tmp_path / "run", **{stage: "label"})
    assert not called and not (tmp_path / "run").exists()
