"""Settings that have no effect under the others: refused where the command line states them, told where a file does."""

import re

import pytest
from absl import flags
from absl.testing import flagsaver

from encore_jax.cli import grid, run
from encore_jax.cli.command import define_config
from encore_jax.cli.config_file import load_config, shipped_names
from encore_jax.cli.idle_choices import choices
from encore_jax.cli.idle_settings import idle_in_file, refuse_idle, told_of
from encore_jax.cli.overrides import apply_overrides
from encore_jax.cli.sweep import plan
from encore_jax.errors import InputError
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.run_config import validated
from encore_jax.settings import fields_of

if "config" not in flags.FLAGS:
    define_config()

FILES = ("data.source=files", "data.path=pairs.jsonl")
RATED = ("data.path=pairs.jsonl", "data.ratings_path=rated.jsonl")
GRADIENT = (*FILES, "train.method=gradient")
LOCAL = (*FILES, "judge.kind=local")
SERVER = (*FILES, "judge.kind=server", "judge.model=m")
PANEL = (*FILES, "judges.first.model=a", "judges.second.model=b")
WITH_TABLE = (*FILES, "judges.first.model=a", "judges.second.kind=table")
RATED = (*FILES, "rate.source=comparisons")
WITHOUT_EFFECT = [
    # shipped configuration, choices, a field without effect, the choice at fault
    ("quickstart", (), "train.lr=0.01", "train.method is 'ridge'"),
    ("quickstart", (), "train.loss=binary", "train.method is 'ridge'"),
    ("quickstart", (), "train.checkpoints=gs://b", "train.method is 'ridge'"),
    ("rate_server", SERVER, "mesh.fsdp=4", "judge.kind is 'server'"),
    ("quickstart", (), "model.architecture=llama-3.1-8b", "train.method is 'ridge'"),
    ("quickstart", (), "data.path=pairs.jsonl", "data.source is 'pyrit'"),
    ("quickstart", (), "data.ratings_path=rated.jsonl", "data.source is 'pyrit'"),
    ("quickstart", FILES, "data.most_per_prompt=3", "data.source is 'files'"),
    ("quickstart", FILES, "data.ratings_format=encore", "data.ratings_path is empty"),
    ("quickstart", ("data.source=tfds", "data.path=d"), "data.format=encore", "data.source is 'tfds'"),
    ("quickstart", ("semi_synthetic.judges=0",), "semi_synthetic.noise=flip", "semi_synthetic.judges is 0"),
    ("quickstart", ("baselines.gate.steps=0",), "baselines.gate.lr=0.1", "baselines.gate.steps is 0"),
    ("quickstart", ("compose.bins=4",), "compose.levels=5", "compose.bins is 4"),
    ("quickstart", ("compose.estimator=kde",), "compose.normalize=levels", "compose.estimator is 'kde'"),
    ("quickstart", GRADIENT, "train.alphas=(1.0,)", "train.method is 'gradient'"),
    ("quickstart", GRADIENT, "train.lora_rank=4", "train.trainable is 'heads'"),
    ("quickstart", GRADIENT, "train.margins=true", "train.loss is 'regression'"),
    ("quickstart", GRADIENT, "train.positive_weight=2.0", "train.loss is 'regression'"),
    ("quickstart", GRADIENT, "baselines.gate.steps=9", "train.method is 'gradient'"),
    ("quickstart", (*GRADIENT, "train.watch=0"), "train.keep_best=loss", "train.watch is 0"),
    ("bt_smollm2", FILES, "compose.tau=1.0", "train.loss is 'bradley_terry'"),
    ("bt_smollm2", FILES, "semi_synthetic.judges=3", "train.loss is 'bradley_terry'"),
    ("bt_smollm2", FILES, "data.ratings_path=rated.jsonl", "train.loss is 'bradley_terry'"),
    ("rate_server", SERVER, "model.path=m", "judge.kind is 'server'"),
    ("rate_server", SERVER, "data.test_fraction=0.1", "holds nothing out"),
    ("rate_server", SERVER, "judge.both_orders=true", "ratings are of one response"),
    ("rate_server", SERVER, "judge.most_rules=3", "judge.rules_of is empty"),
    ("rate_server", SERVER, "judge.structured=none", "judge.rules_per_call is 1"),
    ("rate_table", (), "judge.rules_per_call=0", "judge.kind is 'table'"),
    ("rate_server", SERVER, "compose.keep=1", "composes none"),
    ("rate_server", (*SERVER, "judge.prompt=numeric.1"), "judge.top=3", "read as text"),
    ("rate_local", LOCAL, "judge.model=m", "judge.kind is 'local'"),
    ("rate_local", LOCAL, "judge.server.timeout=3.0", "judge.kind is 'local'"),
    ("rate_local", LOCAL, "judge.system_role=false", "judge.kind is 'local'"),
    ("rate_batch", (*FILES, "judge.model=m"), "judge.hopeless=3", "judge.kind is 'batch'"),
    ("rate_table", (), "judge.prompt=numeric.1", "judge.kind is 'table'"),
    ("rate_table", (), "judge.tokenizer=somewhere", "judge.kind is 'table'"),
    ("rate_table", (), "judge.prices=(1.0,2.0)", "judge.kind is 'table'"),
    ("rate_model", (*FILES, "model.path=m"), "judge.prices=(1.0,2.0)", "judge.kind is 'model'"),
    ("rate_model", (*FILES, "model.path=m"), "judge.tokenizer=m", "judge.kind is 'model'"),
    ("rate_pairs", (*FILES, "judge.model=m"), "compose.levels=5", "about no rule"),
    ("rate_panel", PANEL, "judges.first.backbone.path=m", "judges.first.kind is 'server'"),
    ("rate_panel", PANEL, "judges.second.table.path=f", "judges.second.kind is 'server'"),
    ("rate_panel", PANEL, "judges.first.temperature=0.5", "judges.first.repeats is 1"),
    ("rate_panel", (*PANEL, "judges.first.prompt=numeric.1"), "judges.first.top=3", "read as text"),
    ("rate_panel", WITH_TABLE, "judges.second.table.scale=(1,5)", "table.path is empty"),
    ("rate_panel", WITH_TABLE, "judges.second.prompt=numeric.1", "second.kind is 'table'"),
    ("rate_panel", PANEL, "data.ratings_path=r.jsonl", "no judge is a table"),
    ("rate_panel", PANEL, "mesh.fsdp=2", "no judge is 'local' or 'model'"),
    ("rule_adapter_smollm2", RATED, "train.lr=0.1", "train.method is 'heads'"),
    ("rule_adapter_smollm2", RATED, "select.ties=first", "trains no reward model"),
    ("rule_adapter_smollm2", RATED, "select.half=0.5", "select.relevance is 'none'"),
    ("rule_adapter_llama32_3b", RATED, "rate.folds=3", "rate.source is 'comparisons'"),
    ("rule_adapter_llama32_3b", RATED, "train.penalties=(1.0,)", "train.method is 'gradient'"),
    ("joint_smollm2", FILES, "train.alphas=(1.0,)", "train.method is 'gradient'"),
    ("joint_smollm2", FILES, "compose.draws=7", "rule heads are composed by entropy"),
    ("joint_smollm2", (*FILES, "train.arms=('rules',)"), "train.rating_weight=2.0", "trains nothing jointly"),
    ("bt_smollm2", FILES, "train.rating_weight=2.0", "train.loss is 'bradley_terry'"),
    ("ramo_smollm2", (*RATED, "adapter_from=d"), "adapter_fraction=0.3", "adapter_from names"),
    ("ramo_smollm2", (*RATED, "train.arms=('initial','human')"), "train.rs=(1,)", "no arm of train.arms selects"),
    ("ramo_smollm2", (*RATED, "train.arms=('human',)"), "select.ties=first", "no arm of train.arms labels by rules"),
    ("ablation", ("scores=view-heads.npz",), "test_fraction=0.3", "a run's view"),
    ("ablation", ("scores=view-heads.npz",), "folds=3", "features is empty"),
    ("ablation", ("scores=view-heads.npz", "subsets=all"), "sampled=9", "subsets is 'all'"),
    ("rewardbench", ("model=m", "data=d.jsonl"), "revision=v2", "not on the hub"),
    ("theory", (), "replicates=50", "views is empty"),
]


def configured(name, *texts):
    arguments = {text.partition("=")[0]: [f"--config.{text}"] for text in texts}
    return validated(apply_overrides(load_config(name), arguments)), list(arguments)


@pytest.mark.parametrize(("name", "given", "idle", "because"), WITHOUT_EFFECT, ids=lambda value: str(value)[:40])
def test_a_field_without_effect_is_refused_with_the_choice_that_makes_it_so(name, given, idle, because):
    config, stated = configured(name, *given)
    refuse_idle(config, stated)  # what the command needs to say is no mistake
    config, stated = configured(name, *given, idle)
    field = re.escape(f"--config.{idle.partition('=')[0]}")
    with pytest.raises(InputError, match=rf"{field}: has no effect where .*{because}.*Fix: leave it out"):
        refuse_idle(config, stated)


@pytest.mark.parametrize("name", shipped_names())
def test_every_choice_names_fields_that_there_are(name):
    config = load_config(name)
    fields = fields_of(config)
    for idle, _ in choices(config):
        assert any(field == idle or field.startswith(f"{idle}.") for field in fields), idle


def test_the_command_refuses_it_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        ("--config=quickstart --config.train.lr=1", "--config.train.lr: has no effect where train.method is 'ridge'"),
        ("--config=rewardbench --config.peer=hf --as=hf", "--as: is given beside --config.peer"),
    ):
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
            run.main(["run", *words.split()])
        assert stopped.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sweep_refuses_it_too_also_in_some_cells_only():
    base = ExperimentConfig()
    with pytest.raises(InputError, match="config.train.lr: has no effect where train.method is 'ridge'. Fix: leave it"):
        plan("c.py", base, {}, grid.parse_grid("train.lr=0.1,0.2"))
    with pytest.raises(InputError, match="config.train.lr: has no effect .*, as in 2 of the 4 cells"):
        plan("c.py", base, {}, grid.parse_grid("train.method=ridge,gradient;train.lr=0.1,0.2"))


def test_what_a_file_sets_in_vain_is_told_in_one_line():
    config = ExperimentConfig()
    config.train.lr, config.train.rows, config.data.path = 0.5, 4, "pairs.jsonl"
    said = idle_in_file(validated(config))
    assert "\n" not in said and "train.rows, train.lr (where train.method is 'ridge')" in said
    assert "data.path (where data.source is 'pyrit')" in said
    assert idle_in_file(validated(ExperimentConfig())) == ""
    assert "seeds" in idle_in_file(validated(AblateConfig(scores="a.npz", seeds=(0, 1))))


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "bt_smollm2",
            (*FILES, "model.buckets=(256,)"),
            "model.buckets: has no effect .*rows have train.length tokens",
        ),
        ("rate_pairs", (*FILES, "judge.model=m", "judge.pool=safety_10"), "judge.pool: has no effect .* about no rule"),
    ],
)
def test_some_fields_are_told_of_and_not_refused(name, given, said):
    config, stated = configured(name, *given)
    refuse_idle(config, stated)
    (line,) = told_of(config, stated)
    assert re.search(said, line) and not told_of(config, ())
    assert not told_of(*configured("quickstart", "model.buckets=(256,)"))


SET_FOR_LATER = (
    "encore_llama31_70b", "encore_llama31_8b", "encore_gemma3_12b", "encore_qwen3_30b_a3b", "rate_pairs",
    "bt_llama31_8b",
)  # fmt: skip
"""Shipped configurations that say a file's format, or row lengths of a local judge, before it is named."""


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_configurations_set_nothing_in_vain(name):
    assert bool(idle_in_file(load_config(name))) == (name in SET_FOR_LATER)
