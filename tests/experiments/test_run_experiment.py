"""What an experiment hands on to its chain, on one process and on several: nothing that was asked for gets lost."""

import contextlib
import importlib
import inspect
import pkgutil

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.errors import InputError
from encore_jax.recipes import chains, pipeline
from encore_jax.recipes.chain import Chain
from encore_jax.recipes.chains.ablation import AblationChain
from encore_jax.recipes.chains.benchmark import BenchmarkChain
from encore_jax.recipes.chains.heads import HeadsChain
from encore_jax.recipes.chains.panel import PanelChain
from encore_jax.recipes.chains.preferences import PreferenceChain
from encore_jax.recipes.chains.ramo import AdapterChain, RamoChain
from encore_jax.recipes.chains.rating import RatingChain
from encore_jax.recipes.chains.theory import TheoryChain
from encore_jax.recipes.chains.verdicts import VerdictChain
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.judging_together import Role
from experiments.studies.real_judges_chain import RealJudgesChain

KINDS = {
    "quickstart": HeadsChain, "encore_hh": HeadsChain, "bt_smollm2": PreferenceChain, "ramo_smollm2": RamoChain,
    "rule_adapter_smollm2": AdapterChain, "rate_server": RatingChain, "rate_pairs": VerdictChain,
    "rate_panel": PanelChain, "real_judges": RealJudgesChain,
    "rewardbench": BenchmarkChain, "ablation": AblationChain, "theory": TheoryChain,
}  # fmt: skip


def config(name="quickstart"):
    return load_config(name)


@pytest.mark.parametrize("name", KINDS)
def test_every_configuration_has_its_chain(name, tmp_path):
    chain = pipeline.chain_of(config(name), tmp_path)
    assert type(chain) is KINDS[name]
    assert chain.at == {stage: tmp_path / stage for stage in chain.STAGES} and chain.STAGES[-1] == "report"


def test_every_chain_is_some_configurations():
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.iter_modules(chains.__path__, "encore_jax.recipes.chains.")
    ]
    classes = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    assert set(KINDS.values()) - {RealJudgesChain} == {kind for kind in classes if issubclass(kind, Chain)} - {Chain}


@pytest.fixture
def called(monkeypatch):
    """Which functions an experiment calls, in order, with what."""
    calls = []

    def spy(name, context=False):
        def call(*args, **options):
            calls.append((name, args, options))
            return contextlib.nullcontext() if context else None

        monkeypatch.setattr(pipeline, name, call)

    for name in ("all_same_everywhere", "check_rerun", "run_chain"):
        spy(name)
    spy("kept_for", context=True)
    return calls


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("role", list(Role))
def test_what_was_asked_for_reaches_the_chain(role, processes, called, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.jax, "process_count", lambda: processes)
    monkeypatch.setattr(pipeline, "judging_together", lambda config: contextlib.nullcontext(role))
    one = config()
    pipeline.run_experiment(one, tmp_path, rerun="train", until="score", overwrite=True)
    names = [name for name, _, _ in called]
    if role is Role.FOLLOWER:
        assert names == []
        return
    together = role is Role.ALIKE and processes > 1
    assert names == ["all_same_everywhere"] * together + ["check_rerun", "kept_for", "run_chain"]
    if together:
        what, command, fix = called[0][1]
        assert command == to_dict(one) | {"rerun": "train", "until": "score"} and "same command" in fix
    (_, rerun, _), (_, kept, kept_options), (_, (chain,), options) = called[-3:]
    assert rerun == (chain, "train", together) and kept == (chain, tmp_path)
    assert kept_options == {"overwrite": True, "together": together}
    assert options == {"rerun": "train", "until": "score", "together": together, "overwrite": True}


@pytest.mark.parametrize("stage", ["rerun", "until"])
def test_a_stage_that_is_not_there_is_refused_before_anything_is_touched(stage, called, tmp_path):
    with pytest.raises(InputError, match="there is no stage 'label' here"):
        pipeline.run_experiment(config(), tmp_path / "run", **{stage: "label"})
    assert not called and not (tmp_path / "run").exists()
