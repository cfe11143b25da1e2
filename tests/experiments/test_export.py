"""A finished run's reward model, exported and loaded again: the scores are the run's own."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from encore_jax.cli.export import main as export_main
from encore_jax.cli.export_run import export_run
from encore_jax.cli.finished_run import read_run
from encore_jax.cli.joint_choice import Choice
from encore_jax.data.lock import folder_lock, output_lock
from encore_jax.errors import InputError
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.config import ExperimentConfig, TrainConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import from_dict, to_dict, validated
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.preferences import held_out
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import RulePool
from tests.experiments import tiny_run

OPTIONS = dict(folded=False, peft=False, allow_mismatch=False, shard_bytes=10**9)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


def run(config, workdir):
    run_experiment(validated(config), workdir)
    return workdir


@pytest.fixture(scope="module")
def heads(files, tmp_path_factory):
    return run(tiny_run.config(files), tmp_path_factory.mktemp("heads") / "run")


def preferences(files, trainable, workdir):
    config = tiny_run.config(files)
    config.train = TrainConfig(
        method="gradient", loss="bradley_terry", trainable=trainable, rows=8, length=256, lr=3e-3, epochs=2,
        remat="none", lora_rank=2, save_every=4, watch=0, keep_best="",
    )  # fmt: skip
    config.data.ratings_path = ""
    return run(config, workdir)


def test_a_configuration_survives_its_own_file(files):
    config = tiny_run.config(files)
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(InputError, match=r"config\.train: TrainConfig has no nonsense"):
        from_dict(ExperimentConfig, {"train": {"nonsense": 1}})


def test_a_run_of_another_kind_holds_no_reward_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(to_dict(BenchmarkConfig(model="m", data="d"))))
    with pytest.raises(InputError, match="config.json: .*Fix: name a run that trains a reward model"):
        read_run(tmp_path)


def test_composed_heads(files, heads, tmp_path):
    """Ridge heads are cross-fitted on training texts, so the test's texts show the exported heads' own scores."""
    model = RewardModel.from_pretrained(export_run(read_run(heads), tmp_path / "out", **OPTIONS))
    assert model.rules == tiny_run.POOL.names and model.passport.weights
    config = validated(from_dict(ExperimentConfig, json.loads((heads / "config.json").read_text())))
    split = Split(config.data.test_fraction, config.train.folds, config.seed)
    texts = texts_of(Ingested.load(heads / "ingest"), split)
    scores = TrainedHeads.load(heads / "train").scores["human"]
    chosen = np.flatnonzero(texts.test)[:6]
    got = model.scores([texts.texts[i][0] for i in chosen], [[texts.texts[i][1]] for i in chosen])
    np.testing.assert_allclose(np.concatenate(got), scores[chosen], atol=2e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "model-rated" in card and "Accuracy" in card and "rule pool" in card
    counts = json.loads((heads / "ingest" / "counts.json").read_text())
    assert f"{counts['rated_responses']:,} rated responses, {counts['comparisons']:,} comparisons" in card
    for rule in RulePool.from_yaml(heads / "ingest" / "pool.yaml"):
        assert f"**{rule.name}**: {rule.text}" in card


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_a_backbone_that_lies_in_checkpoints_only(files, trainable, tmp_path):
    workdir = preferences(files, trainable, tmp_path / "run")
    model = RewardModel.from_pretrained(export_run(read_run(workdir), tmp_path / "out", **OPTIONS))
    agrees_with_the_run(model, workdir)
    if trainable == "lora":
        adapter = export_run(read_run(workdir), tmp_path / "adapter", **OPTIONS | {"peft": True})
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in adapter.iterdir()}
        agrees_with_the_run(RewardModel.from_pretrained(adapter), workdir)
    else:
        with pytest.raises(InputError, match="no low-rank updates"):
            export_run(read_run(workdir), tmp_path / "adapter", **OPTIONS | {"peft": True})
        counts = workdir / "train" / "counts.json"
        content = json.loads(counts.read_text())
        counts.write_text(json.dumps(content | {"training": content["training"] | {"used_step": 777}}))
        with pytest.raises(InputError, match="counts.json: is missing or was changed"):
            read_run(workdir)
        counts.write_text(json.dumps(content, indent=1))
        run = read_run(workdir)
        with pytest.raises(InputError, match="there is no checkpoint 777"):
            export_run(run._replace(training=(run.training[0], 777)), tmp_path / "none", **OPTIONS)


def agrees_with_the_run(model, workdir):
    config = validated(from_dict(ExperimentConfig, json.loads((workdir / "config.json").read_text())))
    comparisons = Ingested.load(workdir / "ingest").comparisons
    with np.load(workdir / "train" / "rewards.npz") as stored:
        numbers, rewards = stored["comparison"][:6], stored["rewards"][:6]
    chosen = [comparisons[i] for i in numbers]
    assert held_out(chosen, config.data.test_fraction, config.seed).all()
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in chosen]
    got = model.rewards([c.prompt for c in chosen], ordered)
    np.testing.assert_allclose(np.stack(got), rewards, atol=2e-5)


def test_a_run_with_one_model_leaves_no_choice(heads):
    with pytest.raises(InputError, match="has one model.*Fix: leave out --arm and --head; --weights"):
        read_run(heads, Choice(arm="joint", head="rules"))


def test_another_base_model_is_refused_or_recorded(files, heads, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(heads, workdir)
    shutil.copytree(files / "model", tmp_path / "model")
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["path"] = str(tmp_path / "model")
    (workdir / "config.json").write_text(json.dumps(config))
    settings = tmp_path / "model" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"rope_theta": 5.0}))
    with pytest.raises(InputError, match="model_sha256.*--allow-mismatch"):
        export_run(read_run(workdir), tmp_path / "out", **OPTIONS)
    folder = export_run(read_run(workdir), tmp_path / "out", **OPTIONS | {"allow_mismatch": True})
    assert RewardModel.from_pretrained(folder).passport.mismatch[0].startswith("model_sha256")


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: is missing"):
        read_run(tmp_path)


@pytest.fixture
def copied(heads, tmp_path):
    shutil.copytree(heads, tmp_path / "run")
    return tmp_path / "run"


def begun_again(workdir):
    (workdir / "train" / "manifest.json").unlink()


def another_config(workdir):
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(config | {"seed": 7}))


MIXED = {
    "a stage begun again": (begun_again, "train/manifest.json: is missing"),
    "another run's stage": (
        lambda workdir: shutil.copyfile(workdir / "rate" / "manifest.json", workdir / "train" / "manifest.json"),
        "was made from another run's stage train|is missing or was changed",
    ),
    "another configuration": (another_config, "config.json: is not that of the finished run: seed differ"),
    "other results": (lambda workdir: (workdir / "results.json").write_text("{}"), "results.json: is not that of"),
    "changed heads": (
        lambda workdir: (workdir / "train" / "heads-human.npz").write_bytes(b"other"), "npz: is missing or was changed",
    ),
    "no configuration": (lambda workdir: (workdir / "config.json").write_text("[]"), "config.json: .*object"),
    "deep configuration": (lambda workdir: (workdir / "config.json").write_text("[" * 10_000), "config.json"),
    "no group": (lambda workdir: (workdir / "config.json").write_text('{"train": 5}'), "config.json.train: is no"),
    "wrong type": (lambda workdir: (workdir / "config.json").write_text('{"train": {"lr": "x"}}'), "train.lr: 'x'"),
    "list of nothing": (lambda workdir: (workdir / "config.json").write_text('{"model": {"buckets": 5}}'), "buckets"),
    "broken manifest": (lambda workdir: (workdir / "compose" / "manifest.json").write_text("{"), "compose/manifest"),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_a_mixture_of_runs_is_refused(copied, name, tmp_path):
    damage, words = MIXED[name]
    damage(copied)
    with pytest.raises(InputError, match=words) as refused:
        read_run(copied)
    assert "\n" not in str(refused.value)
    if name in ("a stage begun again", "another run's stage", "broken manifest"):
        with pytest.raises(InputError):
            RewardModel.from_pretrained(copied / "compose")  # as score and serve do


def test_nobody_reads_while_a_run_is_at_work(copied, tmp_path, capsys):
    with folder_lock(copied):
        with pytest.raises(InputError, match="run: is in use by process"):
            RewardModel.from_pretrained(copied / "compose")
        with pytest.raises(SystemExit):
            export_main([f"--workdir={copied}", f"--out={tmp_path / 'out'}"])
    assert "run: is in use by process" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_where_an_export_goes(copied, tmp_path, capsys):
    def refused(*arguments):
        with pytest.raises(SystemExit) as stopped:
            export_main([f"--workdir={copied}", *arguments])
        error = capsys.readouterr().err.splitlines()[-1]
        assert stopped.value.code == 2
        return error

    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "out: is in use" in refused(f"--out={out}")
    assert "out: is in use" in refused(f"--out={out}", "--overwrite")
    assert "lies in the input folder stage train of --workdir" in refused(f"--out={copied}/train/export")
    assert "compose: is in use" in refused(f"--out={copied}/compose", "--overwrite")
    assert "run: is in use" in refused(f"--out={copied}", "--overwrite")
    assert "--shard-gb" in refused("--out=x", "--shard-gb=nan") and "--shard-gb" in refused("--out=x", "--shard-gb=0")
    assert (out / "notes.txt").read_text() == "mine"
    with output_lock(tmp_path / "new"):
        assert "new: is in use by process" in refused(f"--out={tmp_path / 'new'}")
    export_main([f"--workdir={copied}", f"--out={tmp_path / 'new'}"])
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()}
    capsys.readouterr()
    export_main([f"--out={tmp_path / 'new'}", f"--workdir={copied}"])
    assert "new: up to date, made by this command from this run before" in capsys.readouterr().out
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "new").iterdir()}
    there = "is there already. Fix: name a new folder, or give --overwrite"
    for other in ("--folded", "--weights=equal", "--allow-mismatch"):
        assert there in refused(f"--out={tmp_path / 'new'}", other)
    rules = json.loads((tmp_path / "new" / "passport.json").read_text())["rules"]
    of_file = [f"--workdir={copied}", f"--out={tmp_path / 'by file'}", f"--weights={tmp_path / 'w.json'}"]
    for first in rules[:2]:  # the same command, another file's content
        (tmp_path / "w.json").write_text(json.dumps({rule: float(rule == first) for rule in rules}))
        assert there in refused(*of_file[1:]) if first != rules[0] else export_main(of_file) is None
    weights = tmp_path / "new" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert there in refused(f"--out={tmp_path / 'new'}"), "an export that was damaged is not the same"
    export_main([f"--workdir={copied}", f"--out={tmp_path / 'new'}", "--overwrite", "--folded"])
    assert RewardModel.from_pretrained(tmp_path / "new").rules == ("reward",)
    made_by = f"encore export --workdir={copied} --out={tmp_path / 'new'} --overwrite --folded\n"
    assert made_by in (tmp_path / "new" / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by file", "new", "out", "run", "w.json"]


def test_the_command_says_what_it_does_before_it_imports_what_it_needs(tmp_path):
    """What takes seconds to import is imported after the first line."""
    code = (
        "import sys; from encore_jax.cli import export; export.exported = lambda *_: sys.exit(sorted("
        "name for name in ('jax', 'transformers', 'matplotlib') if name in sys.modules) or None); export.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--workdir=runs/mine", f"--out={tmp_path / 'out'}"], capture_output=True, text=True
    )
    assert done.returncode == 0 and f"export of runs/mine into {tmp_path / 'out'}" in done.stderr, done.stderr
