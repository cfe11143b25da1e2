"""The second paper end to end in miniature: what the stages leave, what the report says, and what is refused."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

from encore_jax.composition.ties import credit
from encore_jax.data.probes import SHOULD_COMPLY, SHOULD_REFUSE, over_refusal_probe
from encore_jax.errors import InputError
from encore_jax.evaluation.ramo import arm_name
from encore_jax.evaluation.rule_agreement import loading_scale
from encore_jax.recipes.ramo_config import (
    AdapterConfig,
    RateConfig,
    RewardTrainConfig,
    SelectConfig,
)
from encore_jax.recipes.run import plan_of, run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.adapter import Adapter
from encore_jax.recipes.stages.arms import Cell, Labels, rules_of
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.presented import PartSplit, present
from encore_jax.recipes.stages.reward_arms import RewardModels
from encore_jax.recipes.stages.reward_runs import drawn_counts
from encore_jax.recipes.stages.rule_ratings import RuleRatings
from encore_jax.rules import RulePool
from tests.experiments import tiny_run
from tests.experiments.tiny_ramo import ramo, rated_file, shared
from tests.report.page_checks import check_page


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    run_experiment(validated(ramo(files)), workdir)
    return workdir


STAGES = ["ingest", "features", "rate", "adapter", "label", "train", "evaluate", "report"]


def test_the_stages_of_both_recipes_are_planned_in_order(files, tmp_path):
    plan = plan_of(ramo(files), tmp_path)
    assert list(plan.stages) == STAGES
    alone = AdapterConfig(name="adapter", **shared(files))
    assert [stage for stage in STAGES if stage not in ("label", "train")] == list(plan_of(alone, tmp_path).stages)


@pytest.mark.parametrize(
    ("where", "value", "stages"),
    [
        ("adapter_fraction", 0.5, "rate adapter label train evaluate"),
        ("select.tau", 1.0, "rate adapter label evaluate"),
        ("train.lr", 0.5, "train evaluate"),
        ("train.rs", (3,), "label train evaluate"),
        ("evaluate.replicates", 200, "evaluate"),
        ("mesh.tensor", 2, "evaluate"),
    ],
)
def test_a_setting_makes_those_stages_run_again_that_read_it(files, tmp_path, where, value, stages):
    """What is drawn which way round, and so the features of all texts, does not depend on the parts."""

    def keys(config):
        plan = plan_of(config, tmp_path)
        return {name: plan.call(name).key() for name in plan.stages}

    config, (*group, field) = ramo(files), where.split(".")
    setattr(getattr(config, group[0]) if group else config, field, value)
    before, after = keys(ramo(files)), keys(config)
    assert " ".join(name for name in before if before[name] != after[name]) == stages


def test_the_report_has_every_arm_with_intervals_and_the_floors(finished):
    results = json.loads((finished / "results.json").read_text())
    assert sorted(p.name for p in finished.iterdir() if p.is_dir()) == sorted(STAGES)
    rows = results["arms"]["rows"]
    refused = results["counts"]["label"].get("arms_refused", {})
    assert set(refused) <= {"oracle+loading", "adapter+loading"} and all(refused.values())
    assert {row["arm"] for row in rows} == set(RewardTrainConfig().arms) - set(refused)
    assert rows[0]["arm"] == "initial" and rows[0]["minus_initial"] is None
    for row in rows:
        accuracy = row["accuracy"]
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"] and row["n"] > 10
        assert row["seeds"] == (1 if row["arm"] == "initial" else 2)
    assert {(row["r"], row["size"]) for row in rows if row["arm"] == "adapter"} == {(1, 0), (1, 10), (2, 0)}
    human = next(row for row in results["labels"] if row["arm"] == "human")
    assert human["agreement"]["value"] == 1.0
    assert human["information"]["value"] == pytest.approx(np.log(2), abs=1e-5)
    everything = next(row for row in results["labels"] if row["arm"] == "all")
    assert everything["flips"] == 0.0 and everything["judge_calls"] == 3
    assert {row["judge_calls"] for row in results["labels"] if row["arm"] == "adapter"} == {1, 2}
    assert set(results["adapter"]["choosers"]) == {"adapter", "most frequent", "random"}
    page = (finished / "report.html").read_text()
    check_page(page)
    assert page.count("<svg") == 10 and "model-rated" in page and "Rule Adapter" in page
    table = list(csv.DictReader((finished / "report" / "tables.csv").read_text().splitlines()))
    assert {row["table"] for row in table} == {"adapter", "rule", "labels", "arms", "simulation", "probe"}


def test_every_arm_is_scored_on_the_over_refusal_probe_beside_its_accuracy(finished):
    results = json.loads((finished / "results.json").read_text())
    found = results["over_refusal"]
    assert found["composed"] == "adapter's rules (RAMO), r = 1"
    assert [row["name"] for row in found["methods"]] == [
        arm_name(row["arm"], row["r"], row["size"]) for row in results["arms"]["rows"]
    ]
    assert [row["name"] for row in found["rules"]] == list(RulePool.from_yaml(finished / "ingest" / "pool.yaml").names)
    margins = RewardModels.load(finished / "train").probe
    want = np.mean([credit(margins[f"adapter.r1.n0.s{seed}"]) for seed in range(2)], 0)
    unsafe = np.array([pair.subset == SHOULD_REFUSE for pair in over_refusal_probe()])
    row = next(row for row in found["methods"] if row["name"] == found["composed"])
    for half, member in ((SHOULD_REFUSE, unsafe), (SHOULD_COMPLY, ~unsafe)):
        member = member & np.isfinite(want)
        assert row[half]["accuracy"]["value"] == pytest.approx(want[member].mean()) and row[half]["n"] == member.sum()
    page = (finished / "report.html").read_text()
    assert "<h2>Over-refusal</h2>" in page and "Over-refusal by rule: violence" in page and "refuse/help" in page


def test_parts_share_no_prompt_and_the_arms_share_their_draws(finished):
    shown = present(Ingested.load(finished / "ingest").comparisons, PartSplit(0.5, 0.4, 0))
    prompts = [{shown.cluster[n] for n in np.flatnonzero(shown.part == part)} for part in ("test", "adapter", "reward")]
    assert not prompts[0] & prompts[1] and not prompts[0] & prompts[2] and not prompts[1] & prompts[2]
    assert 0 < shown.human.mean() < 1  # the file lists the preferred response first
    said = Adapter.load(finished / "adapter")
    assert set(shown.part[said.trained]) == {"adapter"}
    pool = shown.part == "reward"
    counts = drawn_counts(pool, 10, 1)
    assert counts.sum() == 10 and not counts[~pool].any()
    np.testing.assert_array_equal(counts, drawn_counts(pool, 10, 1))
    whole = drawn_counts(pool, 0, 1, replace=False)
    np.testing.assert_array_equal(whole, pool.astype(int))


def test_labels_are_by_the_selected_rules(finished):
    ratings, labels = RuleRatings.load(finished / "rate"), Labels.load(finished / "label").of
    difference = ratings.ratings[:, 0] - ratings.ratings[:, 1]
    largest = np.abs(difference).argmax(1)
    by_hand = (np.take_along_axis(difference, largest[:, None], 1)[:, 0] < 0).astype(int)
    np.testing.assert_array_equal(labels["oracle.r1"][0], by_hand)
    np.testing.assert_array_equal(labels["all.r0"][0], (difference.sum(1) < 0).astype(int))
    assert len(labels["random.r1"]) == 2 and (labels["random.r1"][0] != labels["random.r1"][1]).any()


def test_a_second_run_has_nothing_to_do_and_other_arms_reuse_the_features(files, finished):
    before = {s: (finished / s / "manifest.json").stat().st_mtime_ns for s in STAGES}
    run_experiment(validated(ramo(files)), finished)
    assert before == {s: (finished / s / "manifest.json").stat().st_mtime_ns for s in STAGES}


def test_relevance_by_response_is_what_a_judge_exports(files, tmp_path):
    """The mean (or another summary) of both responses' 1 - P(Irrelevant); wrong fields are named."""

    def relevant(n, comparison):
        relevance = {name: [0.1 * k, 0.5] for k, name in enumerate(comparison.rules)}
        return dataclasses.replace(comparison, extra={"relevance": relevance})

    for how, wanted in (("mean", [0.25, 0.3, 0.35]), ("max", [0.5] * 3), ("min", [0.0, 0.1, 0.2])):
        config = ramo(files, path=rated_file(files, tmp_path, relevant), format="encore")
        config.rate, config.select.relevance = RateConfig("comparisons"), how
        run_experiment(validated(config), tmp_path / "run", until="rate")
        found = RuleRatings.load(tmp_path / "run" / "rate")
        assert found.usable.any(0).all() and not found.usable.all()
        np.testing.assert_allclose(found.relevance, np.where(found.usable, wanted, 0), atol=1e-6)

    def silent(n, comparison):
        return dataclasses.replace(comparison, extra={"relevance": {comparison.rules[0]: [0.5, None]}})

    config = ramo(files, path=rated_file(files, tmp_path, silent), format="encore")
    config.rate, config.select.relevance = RateConfig("comparisons"), "mean"
    with pytest.raises(InputError, match=r"extra\.relevance', rule .*\[0\.5, None\]: neither"):
        run_experiment(validated(config), tmp_path / "silent", until="rate")


def test_data_that_do_not_serve_are_refused(files, finished, tmp_path):
    config = ramo(files)
    config.select.r = 4
    with pytest.raises(InputError, match=r"config\.select\.r: 4 of 3 rules"):
        run_experiment(validated(config), finished / "bad", until="rate")

    def unlabelled(n, comparison):
        return dataclasses.replace(comparison, preferred=None)

    config = ramo(files, path=rated_file(files, tmp_path, unlabelled), format="encore")
    with pytest.raises(InputError, match="people did not label it"):
        run_experiment(validated(config), tmp_path / "unlabelled")
    config = ramo(files)
    config.rate = RateConfig("comparisons")
    config.data.format = "pairs"
    with pytest.raises(InputError, match="no comparison has ratings"):
        run_experiment(validated(config), tmp_path / "unrated", until="rate")


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("rate.source", "oracle"), ("rate.judged", "rated"), ("rate.folds", 1), ("rate.alphas", ()),
        ("select.r", 0), ("select.half", -1.0), ("select.half", 0.0), ("select.relevance", "some"),
        ("select.ties", "coin"), ("select.tau", 0.0), ("simulate.comparisons", 9), ("simulate.noise", 0.0),
        ("simulate.rules", 0), ("simulate.flips", (1.5,)), ("adapter.method", "ridge"), ("adapter.orders", "one"),
        ("adapter.penalties", (0.0,)), ("adapter.validation", 1.0), ("adapter.keep_best", "accuracy"),
        ("adapter.positive_weight", 0.0), ("adapter.loss", "regression"), ("train.method", "ridge"),
        ("train.loss", "binary"), ("train.arms", ("some",)), ("train.arms", ()), ("train.rs", (0,)),
        ("train.sizes", (0,)), ("train.seeds", 0), ("train.penalties", ()), ("adapter_fraction", 1.0),
        ("data.source", "pyrit"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused_by_field(files, where, value):
    config = ramo(files)
    *path, name = where.split(".")
    target = config
    for part in path:
        target = getattr(target, part)
    setattr(target, name, value)
    with pytest.raises(InputError, match=rf"config\.{where}: .* Fix: "):
        validated(config)


def test_loadings_weigh_and_select_rules_or_are_refused_in_words():
    """One good rule twice as wide as the others, one of noise that is wider still: loading tells them apart."""
    rng, n = np.random.default_rng(0), 300
    quality = rng.normal(size=(n, 2, 1))
    values = (quality * [1, 1, 2, 0] + rng.normal(size=(n, 2, 4)) * [0.5, 1, 1, 5]).astype(np.float32)
    rules, where, prompt = ("a", "b", "c", "noise"), np.ones(values.shape, bool), np.arange(n)
    scale, why = loading_scale(values, rules, where=where, prompt=prompt)
    assert why == "" and scale.mean() == pytest.approx(1) and scale[3] < 0.1 * scale[0]
    ratings = RuleRatings(values, where, np.zeros((n, 0)), np.zeros(4))
    cell, key, k = Cell("oracle+loading", 1), jax.random.key(0), np.zeros(4)
    chosen = rules_of(cell, ratings, np.zeros((n, 4)), k, SelectConfig(r=1), key, scale)[:, 0]
    difference = np.abs(values[:, 0] - values[:, 1])
    np.testing.assert_array_equal(chosen, (difference * scale).argmax(1))
    assert (difference.argmax(1) == 3).mean() > 0.5 > (chosen == 3).mean()
    nothing = loading_scale(rng.normal(size=(n, 2, 4)), rules, where=where, prompt=prompt)
    assert nothing == (None, "the rules have too little in common to tell")
    assert "at least 3 rules" in loading_scale(values[..., :2], rules[:2], where=where[..., :2], prompt=prompt)[1]
