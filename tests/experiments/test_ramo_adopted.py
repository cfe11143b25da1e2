"""An adapter trained by gradient, and what comes after it: a judge asked by it, a reward model on its labels."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.data import iter_comparisons
from encore_jax.errors import InputError
from encore_jax.evaluation.ramo import arm_name
from encore_jax.http.settings import ServerSettings
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.ramo_config import (
    AdapterConfig,
    AdapterTrainConfig,
    RamoConfig,
    RateConfig,
    RewardTrainConfig,
)
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.adapter import Adapter
from encore_jax.recipes.stages.arms import Labels
from encore_jax.recipes.stages.reward_arms import RewardModels
from encore_jax.rules import RulePool
from tests.experiments import tiny_run
from tests.experiments.tiny_ramo import rated_file, shared
from tests.judge.faulty_server import FaultyServer, Running


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


GRADIENT = dict(method="gradient", rows=8, length=512, lr=3e-3, save_every=10, watch=4, remat="none", max_steps=20)


@pytest.fixture(scope="module")
def adapted(files, tmp_path_factory):
    """An adapter trained by gradient on a file of rated comparisons, of which every fifth is unrated."""
    folder, workdir = tmp_path_factory.mktemp("rated"), tmp_path_factory.mktemp("adapter")

    def drop(n, comparison):
        return dataclasses.replace(comparison, ratings=None, mask=None, rules=()) if n % 5 == 0 else comparison

    path = rated_file(files, folder, drop)
    settings = shared(files, path=path, format="encore")
    config = AdapterConfig(
        name="adapter", **settings, rate=RateConfig("comparisons"),
        train=AdapterTrainConfig(**GRADIENT, trainable="all", orders="both"),
    )  # fmt: skip
    run_experiment(validated(config), workdir)
    return path, workdir


@pytest.mark.slow
def test_an_adapter_by_gradient_keeps_its_best_checkpoint_and_predicts_for_unrated_comparisons(adapted):
    _, workdir = adapted
    assert {p.name for p in workdir.iterdir() if p.is_dir()} == set(
        "ingest features rate adapter evaluate report".split()
    )
    said = Adapter.load(workdir / "adapter")
    assert said.known.all() and not said.trained[::5].any() and said.trained.any()
    best = json.loads((workdir / "adapter" / "checkpoints" / "adapter" / "best.json").read_text())
    used = json.loads((workdir / "adapter" / "adapter.json").read_text())["training"]["used_step"]
    lines = [json.loads(line) for line in (workdir / "adapter/adapter/metrics.jsonl").read_text().splitlines()]
    recalls = {line["step"]: line["held_out_recall"] for line in lines if "held_out_recall" in line}
    assert best["metric"] == "recall" and used == best["step"] == max(recalls, key=recalls.get)
    results = json.loads((workdir / "results.json").read_text())
    assert results["rate"]["comparisons_without_ratings"] == 16 and "arms" not in results


@pytest.fixture(scope="module")
def reward_model(files, tmp_path_factory):
    """The tiny model with a reward head, as published reward models have one."""
    folder = tmp_path_factory.mktemp("reward")
    for path in (files / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    head = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    save_file(load_file(folder / "model.safetensors") | {"score.weight": head}, folder / "model.safetensors")
    return folder


def by_gradient(files, path, adapted, model) -> RamoConfig:
    config = RamoConfig(
        name="tiny8b", **shared(files, path=path, format="encore"), rate=RateConfig("comparisons"),
        adapter_from=str(adapted),
        train=RewardTrainConfig(**GRADIENT, trainable="all", arms=("initial", "adapter"), rs=(), sizes=(), seeds=1),
    )  # fmt: skip
    config.model.path = str(model)
    return config


@pytest.mark.slow
def test_ramo_by_gradient_adopts_an_adapter_and_starts_from_the_reward_head(files, adapted, reward_model, tmp_path):
    """Comparisons unrated for the adapter are rated later on the rules it selected, and on no others."""
    _, source = adapted
    said = Adapter.load(source / "adapter")
    selected = said.probability.mean(0).argmax(1)

    def drop(n, comparison):
        mask = np.zeros((2, 3), bool)
        mask[:, selected[n]] = n != 7  # one that the judge never saw
        return dataclasses.replace(comparison, mask=comparison.mask & mask)

    path = rated_file(files, tmp_path, drop)
    unrated = sum(not c.mask[:, selected[n]].all() for n, c in enumerate(
        iter_comparisons(path, pool=RulePool.from_yaml(files / "pool.yaml"))))  # fmt: skip
    assert unrated >= 1
    run_experiment(validated(by_gradient(files, path, source, reward_model)), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    initial, trained = results["arms"]["rows"]
    assert initial["arm"] == "initial" and trained["arm"] == "adapter" and trained["n"] == initial["n"] > 10
    labels = Labels.load(tmp_path / "run" / "label").of["adapter.r1"][0]
    assert (labels == -2).sum() == unrated
    found, probe = results["over_refusal"], RewardModels.load(tmp_path / "run" / "train").probe
    assert [row["name"] for row in found["methods"]] == [arm_name("initial", 0, 0), arm_name("adapter", 1, 0)]
    assert not found["rules"] and found["composed"] == arm_name("adapter", 1, 0)
    assert set(probe) == {"initial", "adapter.r1.n0.s0"} and np.isfinite(probe["initial"]).sum() > 50
    with pytest.raises(InputError, match="no reward head"):
        run_experiment(validated(by_gradient(files, path, source, files / "model")), tmp_path / "headless")


def by_judge(files, path, source, url, r=1) -> RatingConfig:
    data = DataConfig(source="files", pool=str(files / "pool.yaml"), path=path)
    server = ServerSettings(urls=(url,), concurrency=8)
    judge = JudgeConfig(model="m", rules_of=str(source), most_rules=r, server=server)
    return validated(RatingConfig(name="rate", data=data, judge=judge))


def test_a_judge_is_asked_about_the_predicted_rules_only_and_its_ratings_give_labels(files, adapted, tmp_path):
    path, source = adapted
    server = FaultyServer()
    with Running(server) as url:
        run_experiment(by_judge(files, path, source, url), tmp_path / "rate")
    pool, said = RulePool.from_yaml(files / "pool.yaml"), Adapter.load(source / "adapter")
    best, new = said.probability.mean(0).argmax(1), ~said.trained
    assert 0 < new.sum() < len(new)
    exported = str(tmp_path / "rate" / "rate" / "comparisons.jsonl")
    rated = list(iter_comparisons(exported, pool=pool))
    wanted = {(c.prompt, text, best[n]) for n, c in enumerate(rated) if new[n] for text in c.responses}
    given = {(c.prompt, c.responses[i], k) for c in rated for i, k in np.argwhere(c.mask)}
    assert given == wanted and sum(server.answered.values()) >= len(wanted)
    run_experiment(validated(by_gradient(files, exported, source, files / "model")), tmp_path / "after", until="label")
    assert (Labels.load(tmp_path / "after" / "label").of["adapter.r1"][0][new] >= -1).all()


def test_a_judge_is_not_asked_about_rules_that_nobody_predicted(files, adapted, tmp_path):
    path, source = adapted
    with pytest.raises(InputError, match=r"config\.judge\.most_rules: 4 of 3 rules"):
        run_experiment(by_judge(files, path, source, "http://127.0.0.1:9", r=4), tmp_path / "many")
    lines = (files / "pairs.jsonl").read_text().splitlines()[:3]
    rows = [json.loads(line) for line in lines]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row | {"prompt": "New"}) + "\n" for row in rows))
    with pytest.raises(InputError, match="did not predict for it"):
        run_experiment(by_judge(files, str(tmp_path / "new.jsonl"), source, "http://127.0.0.1:9"), tmp_path / "others")


def test_predictions_of_another_pool_or_of_other_comparisons_are_refused(files, adapted, reward_model, tmp_path):
    path, source = adapted
    config = by_gradient(files, path, source, reward_model)
    other = RulePool.from_yaml(files / "pool.yaml")
    RulePool(tuple(dataclasses.replace(rule, text=rule.text + " Really.") for rule in other), "x").to_yaml(
        tmp_path / "pool.yaml"
    )
    config.data.pool = str(tmp_path / "pool.yaml")
    with pytest.raises(InputError, match="another rule pool"):
        run_experiment(validated(config), tmp_path / "pool", until="adapter")
    config = by_gradient(files, path, source, reward_model)
    config.seed = 5  # other responses are A
    with pytest.raises(InputError, match="did not predict for it"):
        run_experiment(validated(config), tmp_path / "seed", until="adapter")
    config = by_gradient(files, path, tmp_path / "nowhere", reward_model)
    with pytest.raises(InputError, match="no such file or folder"):
        run_experiment(validated(config), tmp_path / "none", until="adapter")
