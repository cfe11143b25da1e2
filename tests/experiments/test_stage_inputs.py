"""What every stage of every recipe depends on: who forgets the seed, or a setting, believes old results."""

import contextlib
import copy
import dataclasses
import json
from types import SimpleNamespace
from unittest import mock

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.errors import InputError
from encore_jax.recipes import outside
from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.outside import ModelFiles, Outside, Probe, Record
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.run import check_stages, plan_of
from encore_jax.recipes.run_config import to_dict
from encore_jax.settings import Settings, results_depend_on

RECIPES = {
    "quickstart": {
        "seed": "ingest rate train baselines score compose evaluate audit",
        "data": "ingest train baselines score compose evaluate audit",
        "model": "features train compose evaluate",
        "train": "train baselines score compose evaluate audit",
        "semi_synthetic": "rate score evaluate",
        "baselines": "baselines evaluate",
        "compose": "compose evaluate",
        "evaluate": "evaluate",
        "mesh": "evaluate",
        "files": "ingest baselines",
        "weights": "features train compose",
    },
    "encore_smollm2": {
        "seed": "ingest rate train baselines score compose evaluate audit",
        "data": "ingest train baselines score compose evaluate audit",
        "model": "train compose evaluate",
        "train": "train baselines score compose evaluate audit",
        "semi_synthetic": "rate score evaluate",
        "baselines": "baselines evaluate",
        "compose": "compose evaluate",
        "evaluate": "evaluate",
        "mesh": "evaluate",
        "files": "ingest baselines",
        "weights": "train compose",
    },
    "bt_smollm2": {
        "seed": "ingest train evaluate",
        "data": "ingest train evaluate",
        "model": "train evaluate",
        "train": "train evaluate",
        "files": "ingest",
        "weights": "train",
    },
    "joint_smollm2": {
        "seed": "ingest train evaluate",
        "data": "ingest train evaluate",
        "model": "train evaluate",
        "train": "train evaluate",
        "domain": "train evaluate",
        "compose": "evaluate",
        "evaluate": "evaluate",
        "files": "ingest",
        "weights": "train",
    },
    "ramo_smollm2": {
        "seed": "ingest features rate adapter label train evaluate",
        "data": "ingest rate adapter label train evaluate",
        "model": "features adapter train evaluate",
        "rate": "rate evaluate",
        "select": "rate adapter label train evaluate",
        "adapter": "adapter evaluate",
        "train": "label train evaluate",
        "simulate": "evaluate",
        "evaluate": "evaluate",
        "files": "ingest",
        "weights": "features adapter train",
    },
    "rule_adapter_smollm2": {
        "seed": "ingest features rate adapter evaluate",
        "data": "ingest rate adapter evaluate",
        "model": "features adapter evaluate",
        "rate": "rate evaluate",
        "select": "rate adapter evaluate",
        "train": "adapter evaluate",
        "files": "ingest",
        "weights": "features adapter",
    },
    "rate_server": {
        "seed": "ingest rate", "data": "ingest", "judge": "rate", "compose": "report", "model": "", "files":
        "ingest rate",
    },
    "rate_local": {
        "seed": "ingest rate", "data": "ingest", "judge": "rate", "compose": "report", "model": "rate", "files":
        "ingest rate", "weights": "rate",
    },
    "rate_model": {"seed": "ingest rate", "judge": "rate", "compose": "report", "files": "ingest rate"},
    "rate_pairs": {
        "seed": "ingest rate report", "data": "ingest report", "judge": "rate report", "name": "report", "files":
        "ingest",
    },
    "rate_panel": {
        "seed": "ingest rate panel report", "data": "ingest report", "pool": "report",
        "judges": "rate report", "min_judges": "panel report", "replicates": "panel report", "tau": "panel report",
        "mesh": "report", "name": "report", "files": "ingest",
    },
    "rewardbench": {
        "seed": "evaluate",
        "data": "evaluate",
        "format": "ingest evaluate",
        "limit": "ingest evaluate",
        "peer": "score evaluate",
        "dtype": "score evaluate",
        "buckets": "score evaluate",
        "tokens_per_batch": "score evaluate",
        "tau": "evaluate",
        "replicates": "evaluate",
        "files": "ingest score evaluate",
    },
    "ablation": {
        **dict.fromkeys("seed label test_fraction subsets sampled alphas folds".split(), "prepare report"),
        **dict.fromkeys("shares grids agreement replicates".split(), "prepare decide report"),
        "taus": "decide report",
        "part": "decide report",
        "name": "report",
        "files": "prepare report",
    },
    "theory": {"seed": "check", "pairs": "check", "repeats": "check", "replicates": "check"},
}  # fmt: skip
"""By configuration: the stages whose inputs change with a part of it, the files it reads, or the model's weights."""

EARLIER = {
    "quickstart": {
        "rate": "ingest", "features": "ingest", "train": "ingest rate features", "baselines": "ingest features train",
        "score": "ingest rate features train baselines",
        "compose": "ingest rate train score", "evaluate": "ingest rate train baselines score compose",
        "audit": "ingest train score compose", "report": "evaluate",
    },
    "encore_smollm2": {
        "rate": "ingest", "train": "ingest rate", "baselines": "ingest train", "score": "ingest rate train baselines",
        "compose": "ingest rate train score", "evaluate": "ingest rate train baselines score compose",
        "audit": "ingest train score compose", "report": "evaluate",
    },
    **dict.fromkeys(("bt_smollm2", "joint_smollm2"), {
        "train": "ingest", "evaluate": "ingest train", "report": "evaluate",
    }),
    "ramo_smollm2": {
        "features": "ingest", "rate": "ingest features", "adapter": "ingest features rate",
        "label": "ingest rate adapter", "train": "ingest features adapter label",
        "evaluate": "ingest features rate adapter label train", "report": "evaluate",
    },
    "rule_adapter_smollm2": {
        "features": "ingest", "rate": "ingest features", "adapter": "ingest features rate",
        "evaluate": "ingest features rate adapter", "report": "evaluate",
    },
    **dict.fromkeys(("rate_server", "rate_local", "rate_model", "rate_pairs"), {
        "rate": "ingest", "report": "ingest rate",
    }),
    "rate_panel": {"rate": "ingest", "panel": "rate", "report": "ingest panel"},
    "rewardbench": {"score": "ingest", "evaluate": "ingest score", "report": "evaluate"},
    "ablation": {"decide": "prepare", "report": "prepare decide"},
    "theory": {"report": "check"},
}  # fmt: skip
"""By configuration and stage: whose outputs it reads."""

KEPT = ("extra", "prompt", "method", "source", "kind", "loss", "trainable", "pool", "arms", "views", "scores", "format")
"""Fields that decide which stages there are, or that are read while the stages are listed."""


def changed(config, part: str):
    """A copy in which a field, or every field of a group that a result depends on, says something else."""
    made = copy.deepcopy(config)
    _unlock(made)
    setattr(made, part, _other(getattr(made, part)))
    return made


def _unlock(settings):
    object.__setattr__(settings, "_frozen", False)
    for field in dataclasses.fields(settings):
        if isinstance(value := getattr(settings, field.name), Settings):
            _unlock(value)


def _other(value):
    if isinstance(value, Settings):
        for field in dataclasses.fields(value):
            if "no result" not in field.metadata and field.name not in KEPT:
                setattr(value, field.name, _other(getattr(value, field.name)))
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return (*value, "other") if isinstance(value, tuple) else f"{value}other"


def inputs(config, tmp_path, **hashes: str) -> dict[str, str]:
    """What every stage depends on, as text; hashes of files ("files"), of the model ("weights") and of earlier outputs
    are made up."""

    def made_up(kind):
        what = {ModelFiles: "weights", Probe: "probe"}.get(kind, "files")

        def key(one):
            settings = [results_depend_on(value) for value in vars(one).values() if isinstance(value, Settings)]
            return {what: hashes.get(what, what), "settings": settings}

        return key

    plan_of(config, tmp_path)  # imports what it reads from outside
    with contextlib.ExitStack() as stack:
        for kind in _kinds(Outside):
            if "key" in vars(kind) and kind is not Record:
                stack.enter_context(mock.patch.object(kind, "key", made_up(kind)))
        plan = plan_of(config, tmp_path)
        return {stage: json.dumps(plan.call(stage).key(), sort_keys=True) for stage in plan.stages}


def _kinds(kind):
    return [kind, *(found for child in kind.__subclasses__() for found in _kinds(child))]


def differing(config, others, tmp_path, **hashes) -> str:
    before, after = inputs(config, tmp_path), inputs(others, tmp_path, **hashes)
    return " ".join(stage for stage in before if after.get(stage) != before[stage])


@pytest.mark.parametrize("name", RECIPES)
def test_stages_run_again_where_what_they_depend_on_changes_and_only_there(name, tmp_path):
    config, found = load_config(name), {}
    for part in RECIPES[name]:
        if part in ("files", "weights"):
            found[part] = differing(config, config, tmp_path, **{part: "others"})
        else:
            found[part] = differing(config, changed(config, part), tmp_path)
    assert found == RECIPES[name]


@pytest.mark.parametrize("name", RECIPES)
def test_every_part_of_a_configuration_is_an_input_of_some_stage(name, tmp_path):
    """But those that change no result: where models come from, what a rating run is called, its devices."""
    config = load_config(name)
    parts = set(to_dict(config)) - set(KEPT)
    unread = {part for part in parts if not differing(config, changed(config, part), tmp_path)}
    spared = {"name", "mesh", "fetch_backbone", "model", "data"} if isinstance(config, RatingConfig) else set()
    assert unread <= spared


@pytest.mark.parametrize("name", RECIPES)
def test_stages_run_again_where_a_stage_that_they_read_wrote_something_else(name, tmp_path):
    known = inputs(load_config(name), tmp_path)
    found = {stage: " ".join(other for other in known if f'"by {other}"' in known[stage]) for stage in known}
    assert found == {next(iter(known)): ""} | EARLIER[name]


@pytest.mark.parametrize("section", ["train", "adapter"])
def test_how_a_step_runs_and_where_checkpoints_lie_are_no_inputs(section, tmp_path):
    before = load_config("ramo_smollm2")
    for field, value in (("checkpoints", "elsewhere"), ("remat", "none"), ("attention", "xla"), ("lr", 0.123)):
        config = load_config("ramo_smollm2")
        setattr(getattr(config, section), field, value)
        assert bool(differing(before, config, tmp_path)) == (field == "lr"), field


def test_where_files_lie_and_whether_they_may_be_fetched_are_no_inputs(tmp_path):
    assert not differing(load_config("quickstart"), load_config("quickstart"), tmp_path)
    config = load_config("quickstart")
    config.data.offline = not config.data.offline
    assert not differing(load_config("quickstart"), config, tmp_path)


def test_the_models_hash_is_computed_once_and_its_files_noted_every_time():
    model = ModelFiles(ModelConfig(path="model.gguf"), offline=True)
    with mock.patch.object(outside, "model_digest", return_value="digest") as hashed:
        with mock.patch.object(outside, "locate", lambda path, offline: path):
            with mock.patch.object(outside, "recording", lambda: contextlib.nullcontext({"model.gguf": "digest"})):
                with mock.patch.object(outside, "note") as noted:
                    assert [model.sha256, model.sha256] == ["digest", "digest"]
    assert hashed.call_count == 1 and [call.args for call in noted.call_args_list] == [({"model.gguf": "digest"},)] * 2


def test_stages_are_known_by_name():
    plan = SimpleNamespace(stages=("ingest", "report"))
    check_stages(plan, None, "report", "ingest")
    for names in (("train",), ("ingest", "train"), (None, "")):
        with pytest.raises(InputError, match="there is no stage '(train)?' here.*use one of ingest, report"):
            check_stages(plan, *names)
