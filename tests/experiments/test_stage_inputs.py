"""What every stage of every chain says that it depends on: who forgets the seed, or a setting, believes old results."""

import contextlib
import functools
from types import SimpleNamespace
from unittest import mock

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.errors import InputError
from encore_jax.recipes.chain import Chain, check_stages, run_chain
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.run import plan_of
from encore_jax.recipes.rating_config import RatingConfig
from tests.experiments.test_workdir import CopyChain

CHAINS = {
    "quickstart": {
        "seed": "ingest rate train baselines score compose evaluate audit",
        "data": "ingest train baselines score evaluate audit",
        "model": "features train evaluate",
        "train": "train baselines evaluate audit",
        "semi_synthetic": "rate score evaluate",
        "baselines": "baselines evaluate",
        "compose": "compose evaluate",
        "evaluate": "evaluate",
        "mesh": "evaluate",
        "files": "ingest baselines",
        "weights": "features train",
    },
    "encore_smollm2": {
        "seed": "ingest rate train baselines score compose evaluate audit",
        "data": "ingest train baselines score evaluate audit",
        "model": "train evaluate",
        "train": "train baselines evaluate audit",
        "semi_synthetic": "rate score evaluate",
        "baselines": "baselines evaluate",
        "compose": "compose evaluate",
        "evaluate": "evaluate",
        "mesh": "evaluate",
        "files": "ingest baselines",
        "weights": "train",
    },
    "bt_smollm2": {
        "seed": "ingest train evaluate",
        "data": "ingest train evaluate",
        "model": "train evaluate",
        "train": "train evaluate",
        "files": "ingest",
        "weights": "train",
    },
    "ramo_smollm2": {
        "seed": "ingest features rate adapter label train evaluate",
        "data": "ingest adapter evaluate",
        "model": "features adapter train evaluate",
        "rate": "rate adapter evaluate",
        "select": "rate adapter label evaluate",
        "adapter": "adapter evaluate",
        "train": "label train evaluate",
        "simulate": "evaluate",
        "evaluate": "evaluate",
        "files": "ingest",
        "weights": "features adapter train",
    },
    "rule_adapter_smollm2": {
        "seed": "ingest features rate adapter evaluate",
        "data": "ingest adapter evaluate",
        "model": "features adapter evaluate",
        "rate": "rate adapter evaluate",
        "select": "rate adapter evaluate",
        "train": "adapter evaluate",
        "files": "ingest",
        "weights": "features adapter",
    },
    "rate_server": {
        "seed": "ingest rate report", "data": "ingest", "judge": "rate", "compose": "report", "model": "", "files":
        "ingest rate",
    },
    "rate_local": {
        "seed": "ingest rate report", "data": "ingest", "judge": "rate", "compose": "report", "model": "rate", "files":
        "ingest rate", "weights": "rate",
    },
    "rate_model": {"seed": "ingest rate report", "judge": "rate", "compose": "report", "files": "ingest rate"},
    "rate_pairs": {
        "seed": "ingest rate report", "data": "ingest report", "judge": "rate report", "name": "report", "files":
        "ingest",
    },
    "rate_panel": {
        "seed": "ingest rate panel report", "data": "ingest report", "pool": "ingest rate report",
        "judges": "rate report", "min_judges": "panel report", "replicates": "panel report", "tau": "panel report",
        "mesh": "report", "name": "report", "files": "ingest rate",
    },
    "rewardbench": {
        "seed": "ingest score evaluate",
        "data": "ingest evaluate",
        "format": "ingest evaluate",
        "limit": "ingest evaluate",
        "peer": "score evaluate",
        "dtype": "score evaluate",
        "buckets": "score evaluate",
        "tokens_per_batch": "score evaluate",
        "replicates": "evaluate",
        "files": "ingest score",
    },
    "ablation": {
        **dict.fromkeys("seed label test_fraction taus grids subsets shares alphas folds replicates".split(),
                        "prepare decide report"),
        "part": "decide report",
        "name": "report",
        "scores": "report",
        "files": "prepare",
    },
    "theory": {"seed": "check", "pairs": "check", "repeats": "check", "replicates": "check"},
}  # fmt: skip
"""By configuration: the stages whose inputs change with a part of it, the files it reads, or the model's weights."""

EARLIER = {
    "quickstart": {
        "rate": "ingest", "features": "ingest", "train": "ingest rate features", "baselines": "ingest features train",
        "score": "ingest rate features train baselines",
        "compose": "train score", "evaluate": "ingest rate train baselines score compose",
        "audit": "ingest rate train score compose", "report": "evaluate",
    },
    "encore_smollm2": {
        "rate": "ingest", "train": "ingest rate", "baselines": "ingest train", "score": "ingest rate train baselines",
        "compose": "train score", "evaluate": "ingest rate train baselines score compose",
        "audit": "ingest rate train score compose", "report": "evaluate",
    },
    "bt_smollm2": {"train": "ingest", "evaluate": "ingest train", "report": "evaluate"},
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

FILES = [
    "heads.source_hashes", "heads.verdicts_sha256", "preferences.source_hashes", "ramo.source_hashes",
    "rating.source_hashes", "rating.prediction_hashes", "rating.reward_model_hashes", "rating.judging_pool",
    "panel.panel_sources", "panel.check_size", "panel.panel_pool",
    "verdicts.source_hashes", "benchmark.model_hashes", "benchmark.data_file", "ablation.source_digests",
    "ablation.ablation_view",
]  # fmt: skip
"""What hashes files."""


class Digest(str):
    """Whatever a stage takes from a hash: itself, its `digest`, its second part."""

    digest = property(str)

    def __getitem__(self, index):
        return str(self)


def inputs(chain: Chain, files: str = "files", weights: str = "weights") -> dict[str, str]:
    """What every stage depends on, as text; hashes of files, of the model and of earlier outputs are made up."""
    chain.manifests = {stage: {"outputs": {"file": f"of {stage}"}} for stage in chain.STAGES}
    with contextlib.ExitStack() as stack:
        for name in FILES:
            stack.enter_context(mock.patch(f"encore_jax.recipes.chains.{name}", lambda *_, **__: Digest(files)))
        stack.enter_context(mock.patch.object(Chain, "weights", weights))
        plan = chain.plan()
        return {stage: repr(plan[stage][0]()) for stage in chain.STAGES}


def chain_called(name, tmp_path) -> Chain:
    return chain_of(load_config(name), tmp_path)


@pytest.mark.parametrize("name", CHAINS)
def test_stages_run_again_where_what_they_depend_on_changes_and_only_there(name, tmp_path):
    chain = chain_called(name, tmp_path)
    before, found = inputs(chain), {}
    for part in CHAINS[name]:
        if part in ("files", "weights"):
            after = inputs(chain, **{part: "others"})
        else:
            kept, chain._plain[part] = chain._plain[part], "changed"
            after = inputs(chain)
            chain._plain[part] = kept
        found[part] = " ".join(stage for stage in chain.STAGES if after[stage] != before[stage])
    assert found == CHAINS[name]


@pytest.mark.parametrize("name", CHAINS)
def test_every_part_of_a_configuration_is_an_input_of_some_stage(name, tmp_path):
    """But those that change no result: where models come from, what a rating run is called, its devices."""
    chain = chain_called(name, tmp_path)
    before, unread = inputs(chain), set()
    for part in to_dict(chain.config):
        kept, chain._plain[part] = chain._plain[part], "changed"
        unread |= {part} if inputs(chain) == before else set()
        chain._plain[part] = kept
    spared = {"name", "mesh", "fetch_backbone", "model", "data"} if isinstance(chain.config, RatingConfig) else set()
    assert unread <= spared


@pytest.mark.parametrize("name", CHAINS)
def test_stages_run_again_where_a_stage_that_they_read_wrote_something_else(name, tmp_path):
    chain = chain_called(name, tmp_path)
    known = inputs(chain)
    found = {stage: " ".join(other for other in chain.STAGES if f"'of {other}'" in known[stage]) for stage in known}
    assert found == {chain.STAGES[0]: ""} | EARLIER[name]


@pytest.mark.parametrize("section", ["train", "adapter"])
def test_how_a_step_runs_and_where_checkpoints_lie_are_no_inputs(section, tmp_path):
    chain = chain_called("ramo_smollm2", tmp_path)
    before = inputs(chain)
    for field, value in (("checkpoints", "elsewhere"), ("remat", "none"), ("attention", "xla"), ("lr", 0.123)):
        config = load_config("ramo_smollm2")
        setattr(getattr(config, section), field, value)
        changed = inputs(chain_of(config, tmp_path)) != before
        assert changed == (field == "lr"), field


def test_the_models_hash_is_computed_once_and_its_files_noted_every_time(tmp_path):
    chain = chain_called("quickstart", tmp_path)
    with mock.patch("encore_jax.recipes.chain.model_sha256", return_value="digest") as hashed:
        with mock.patch("encore_jax.recipes.chain.recording", lambda: contextlib.nullcontext({"model.gguf": "digest"})):
            with mock.patch("encore_jax.recipes.chain.note") as noted:
                assert [chain.weights, chain.weights] == ["digest", "digest"]
    assert hashed.call_count == 1 and [call.args for call in noted.call_args_list] == [({"model.gguf": "digest"},)] * 2


def test_which_stages_run_and_when_the_report_is_shown(tmp_path):
    """Those that are not complete, or asked for again; the report of a run that was complete already, and no other."""
    (tmp_path / "source").write_bytes(b"mine")

    def run(**options):
        chain, events = CopyChain(tmp_path / "source", tmp_path / "w"), []
        chain.before = {stage: functools.partial(events.append, stage) for stage in chain.STAGES}
        chain.show = functools.partial(events.append, "shown")
        run_chain(chain, **options)
        return events

    assert run(until="read") == ["read"]
    assert run() == ["report"]
    assert run() == ["shown"] and run(until="read") == []
    assert run(rerun="read") == ["read", "shown"], "it wrote the same again"
    assert run(rerun="report") == ["report"]
    (tmp_path / "source").write_bytes(b"yours")
    assert run() == ["read", "report"]


def test_stages_are_known_by_name(tmp_path):
    chain = SimpleNamespace(STAGES=("ingest", "report"))
    check_stages(chain, None, "report", "ingest")
    for names in (("train",), ("ingest", "train"), (None, "")):
        with pytest.raises(InputError, match="there is no stage '(train)?' here.*use one of ingest, report"):
            check_stages(chain, *names)
