"""The configuration: checked before anything runs, frozen afterwards, plain when written."""

import ast
import dataclasses
import json
import math
import re
from pathlib import Path, PureWindowsPath

import pytest

from encore_jax.cli.config_file import find_config, load_config, shipped_names
from encore_jax.errors import InputError
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.checks import is_reserved
from encore_jax.recipes.config import SMOLLM2, DataConfig, ExperimentConfig
from encore_jax.recipes.configs import ramo_smollm2
from encore_jax.recipes.panel_config import PanelConfig
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.run_config import default_workdir, to_dict, validated
from encore_jax.settings import Settings
from experiments.studies.real_judges_config import RealJudgesConfig

NAN = float("nan")
REFUSED = {
    "data.source": ["web", ""],
    "data.format": ["csv"],
    "data.ratings_format": ["csv"],
    "data.test_fraction": [0.0, 1.0, -0.1, NAN],
    "data.most_per_prompt": [-1],
    "data.limit": [-1],
    "model.dtype": ["float16", "fp32"],
    "model.pooling": ["mean"],
    "model.buckets": [(), (0, 128), (-5,)],
    "model.tokens_per_batch": [0],
    "model.architecture": ["gpt-2"],
    "train.method": ["sgd"],
    "train.loss": ["mse"],
    "train.folds": [1],
    "train.alphas": [(), (0.0,), (-1.0, 1.0)],
    "train.trainable": ["everything"],
    "train.epochs": [0],
    "train.rows": [0],
    "train.length": [0, 511],
    "train.accumulate": [0, 3],
    "train.save_every": [0],
    "train.lr": [0.0, NAN, math.inf, 1e-40, 1e39],
    "train.warmup": [1.0, -0.1],
    "train.max_steps": [-1],
    "train.remat": ["some"],
    "train.first_moment": ["float16"],
    "train.keep_best": ["recall"],
    "train.use": ["first"],
    "semi_synthetic.noise": ["pink"],
    "semi_synthetic.judges": [-1],
    "semi_synthetic.best": [0.99, -0.1, NAN],
    "semi_synthetic.worst": [1.5],
    "semi_synthetic.levels": [1],
    "semi_synthetic.draws": [0],
    "baselines.gate.steps": [-1],
    "baselines.gate.width": [0],
    "baselines.gate.layers": [0],
    "baselines.gate.batch": [0],
    "baselines.gate.temperature": [0.0, NAN, math.inf, 1e-40],
    "baselines.gate.scale": [0.0, math.inf, 1e-300],
    "baselines.gate.lr": [0.0, NAN],
    "baselines.gate.dropout": [1.0, -0.1],
    "baselines.gate.weight_decay": [-1.0],
    "baselines.penalties": [(0.0,), (1.0, 1e-45), (math.inf,)],
    "compose.tau": [0.0, -2.0, NAN],
    "compose.levels": [1],
    "compose.bins": [1, -3],
    "compose.scale": [(1.0, 0.0), (0.5, 0.5), (0.0,), (1.0, 5.0), (0.0, 2.0)],
    "compose.base": [1.0, 0.0, -2.0],
    "compose.estimator": ["exact"],
    "compose.normalize": ["max"],
    "compose.keep": [-1],
    "compose.draws": [0],
    "compose.l2": [0.0, -1.0, math.inf, 1e-300],
    "evaluate.replicates": [99],
}


def changed(where, value, config=None):
    config = ExperimentConfig() if config is None else config
    *path, name = where.split(".")
    target = config
    for part in path:
        target = getattr(target, part)
    setattr(target, name, value)
    return config


@pytest.mark.parametrize(("where", "value"), [(where, value) for where, values in REFUSED.items() for value in values])
def test_values_that_make_no_sense_are_refused_by_field(where, value):
    field = {"semi_synthetic.worst": "semi_synthetic.best"}.get(where, where)
    if (where, value) == ("train.accumulate", 3):
        field = "train.rows"
    with pytest.raises(InputError, match=rf"config\.{field}(\[\d\])?: .* Fix: ") as caught:
        validated(changed(where, value))
    if isinstance(value, str):
        assert repr(value) in str(caught.value) and "use one of" in caught.value.fix


@pytest.mark.parametrize(
    ("train", "field"),
    [
        ({"use": "best", "keep_best": ""}, "keep_best"),
        ({"use": "best", "watch": 0}, "watch"),
        ({"keep_best": "accuracy"}, "keep_best"),
    ],
    ids=str,
)
def test_a_best_checkpoint_needs_a_metric_that_will_be_measured(train, field):
    config = ExperimentConfig()
    for name, value in train.items():
        changed(f"train.{name}", value, config)
    with pytest.raises(InputError, match=rf"config\.train\.{field}: "):
        validated(config)


@pytest.mark.parametrize(("name", "value"), [("keep_best", ""), ("watch", 0)])
def test_so_does_an_adapters_where_it_is_trained_by_gradient(name, value):
    config = ramo_smollm2.get_config()
    config.data.path, config.data.ratings_path = "pairs.jsonl", "rated.jsonl"
    setattr(config.adapter, name, value)
    assert validated(config).adapter.method == "heads"
    config = ramo_smollm2.get_config()
    config.data.path, config.data.ratings_path, config.adapter.method = "pairs.jsonl", "rated.jsonl", "gradient"
    setattr(config.adapter, name, value)
    with pytest.raises(InputError, match=rf"config\.adapter\.{name}: "):
        validated(config)


@pytest.mark.parametrize("source", ["files", "tfds"])
def test_files_must_be_named(source):
    with pytest.raises(InputError, match=r"data\.path: .*--config\.data\.path=FILE"):
        validated(ExperimentConfig(data=DataConfig(source=source)))


def settings_in(config, path="config"):
    yield path, config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Settings):
            yield from settings_in(value, f"{path}.{field.name}")


def test_a_checked_configuration_is_frozen_throughout():
    config = validated(ExperimentConfig())
    found = dict(settings_in(config))
    assert {"config", "config.data", "config.compose", "config.train", "config.mesh"} <= found.keys()
    for part in found.values():
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)


def test_a_misspelt_field_is_refused_before_the_check():
    with pytest.raises(AttributeError, match="CompositionSettings has no field 'taw'"):
        changed("compose.taw", 1.0)


def test_two_configurations_share_nothing():
    first, second = ExperimentConfig(), ExperimentConfig()
    first.compose.tau = 9.0
    assert second.compose.tau == 2.0


def test_it_becomes_plain_json():
    plain = to_dict(validated(ExperimentConfig()))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["compose"]["tau"] == 2.0 and plain["model"]["buckets"] == [256, 512]
    assert set(plain) == {field.name for field in dataclasses.fields(ExperimentConfig)}


def test_the_work_directory_is_the_runs_name():
    assert default_workdir(ExperimentConfig(name="tau")) == Path("runs") / "tau"


CONFIGS = shipped_names()


def resolved(name):
    """A shipped configuration, its data files named, checked and plain."""
    said, made = ast.get_docstring(ast.parse(find_config(name).read_text())), load_config(name)
    if isinstance(made, RatingConfig) and made.judge.kind in ("server", "batch"):
        made.judge.model = "some-model"
    if isinstance(made, PanelConfig):
        for name, judge in made.named():
            judge.model = f"{name}-model"
    if isinstance(made, BenchmarkConfig):
        made.model, made.data = "runs/quickstart/compose", "filtered.json"
    elif isinstance(made, AblateConfig):
        made.scores = "view-heads.npz"
    elif isinstance(made, RealJudgesConfig):
        made.data.path = "data"
    elif hasattr(made, "data") and made.data.source == "files":
        made.data.path, made.data.ratings_path = "pairs.jsonl", "ratings.jsonl"
    return said, made, to_dict(validated(made))


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_are_sound_and_say_how_to_run_them(name):
    said, made, _ = resolved(name)
    assert made.name == name
    for word in ("Command:", "Hardware:", "Data:"):
        assert word in said
    ways = rf"--config=experiments/configs/{name}.py|\bencore (run {name}|quickstart|ablate|theory)\b"
    assert re.search(ways, said)
    large = getattr(getattr(made, "model", None), "path", SMOLLM2) != SMOLLM2
    for word in ("Memory:", "Check:", "--aot=") if large else ("Time:", "Expected:"):
        assert word in said


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_resolve_to_the_golden_text(name):
    """Nothing changes a shipped config unseen, a default included: renew with `python tests/experiments/goldens.py`."""
    golden = Path(__file__).parent / "goldens" / f"{name}.json"
    assert json.loads(golden.read_text()) == resolved(name)[2]


@pytest.mark.parametrize("tau", [5e-324, 1e-300, 1e-40, 1e300, math.inf])
def test_every_positive_temperature_is_taken(tau):
    config = ExperimentConfig()
    config.compose.tau = tau
    assert validated(config).compose.tau == tau


@pytest.mark.filterwarnings("ignore:pathlib.PurePath.is_reserved:DeprecationWarning")
def test_names_that_windows_keeps_are_those_of_pathlib():
    stems = ("con", "NUL", "Prn", "aux", "com0", "com1", "lpt9", "com¹", "lpt²", "com10", "nulls", "x", "")
    names = [a + b + c for a in stems for b in ("", " ", "x") for c in ("", ".", ".txt", ". .a", " .b", ".nul")]
    names = [name for name in names if name.rstrip(". ") == name]  # from 3.13 on pathlib counts all others
    assert [is_reserved(name) for name in names] == [PureWindowsPath(name).is_reserved() for name in names]
