"""Joint training as an experiment: its arms, what each learns in and out of distribution, and what it refuses."""

import dataclasses
import json
import random

import numpy as np
import pytest

from encore_jax.composition.settings import ENCORE, UNIFORM
from encore_jax.errors import InputError
from encore_jax.evaluation.joint import PREFERENCE_HEAD, accuracy_rows, error_rows
from encore_jax.model.heads import PREFERENCE
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.joint_config import JointConfig, JointTrainConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ingest import Ingested, ingest
from encore_jax.recipes.stages.joint_texts import joint_targets, joint_texts, joint_trees
from encore_jax.rules import Rule, RulePool
from experiments.published import joint_section
from tests.experiments import tiny_run
from tests.report.page_checks import check_page


def tiny(files, **changes):
    usual = tiny_run.config(files)
    train = dict(trainable="all", rows=8, length=256, lr=3e-3, epochs=2, watch=0, keep_best="", remat="none",
                 train_on=("near",))  # fmt: skip
    given = {name: changes.pop(name) for name in list(changes) if hasattr(TrainConfig(), name) or name == "train_on"}
    return validated(JointConfig(
        name="tiny", data=usual.data, model=usual.model, train=JointTrainConfig(**(train | given)),
        compose=usual.compose, evaluate=usual.evaluate, **({"domain": "subset"} | changes),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Half of the rated responses are left out, so that some comparisons have no ratings."""
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    lines = (folder / "rated.jsonl").read_text().splitlines()
    alone = {"prompt": "only rated", "response": "Never compared.", "ratings": {"violence": 0.0, "kindness": 1.0}}
    kept = random.Random(1).sample(lines, len(lines) // 2)
    (folder / "rated.jsonl").write_text("\n".join([*kept, json.dumps(alone | {"subset": "near"})]) + "\n")
    return folder


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    run_experiment(tiny(files), workdir)
    return workdir


def test_every_arm_is_judged_in_and_out_of_distribution(finished):
    results = json.loads((finished / "results.json").read_text())
    rows = {(row["tested_on"], row["arm"], row["method"]): row for row in results["accuracy"]}
    rewards = [("preferences", PREFERENCE_HEAD), ("rules", ENCORE), ("rules", UNIFORM), ("joint", PREFERENCE_HEAD),
               ("joint", ENCORE), ("joint", UNIFORM)]  # fmt: skip
    assert set(rows) == {(domain, *reward) for domain in ("near", "far") for reward in rewards}
    for (_, arm, _), row in rows.items():
        assert row["trained_on"] == "near" and row["n"] == row["prompts"] > 10
        assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]
        assert (row["minus_preferences"] is None) == (arm == "preferences")
        if arm != "preferences":
            base = rows[row["tested_on"], "preferences", PREFERENCE_HEAD]["accuracy"]["value"]
            assert row["minus_preferences"]["value"] == pytest.approx(row["accuracy"]["value"] - base, abs=1e-9)
    assert {(row["tested_on"], row["arm"]) for row in results["errors"]} == {
        (domain, arm) for domain in ("near", "far") for arm in ("constant", "rules", "joint")
    }
    counts = results["counts"]["train"]["training"]["near"]
    assert counts["comparisons_with_ratings"] and counts["comparisons_without_ratings"]
    assert counts["rated_responses_without_preference"] >= 1
    assert counts["preferences"]["steps"] == counts["rules"]["steps"] == counts["joint"]["steps"]
    page = (finished / "report.html").read_text()
    check_page(page)
    assert "far (out)" in page and "near (out)" not in page
    section, counted = joint_section(results), counts["comparisons_with_ratings"]
    assert f"near: {counted} comparisons with ratings" in section and section.count("| far (out) |") == 9
    lines = (finished / "report" / "tables.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 6 + 2 * 5 + 2 * 3 + 2 * 2  # of each domain: values, and differences
    assert results["passport"]["rules"] == ["violence", "privacy", "kindness", PREFERENCE]


def test_an_arm_moves_only_the_heads_that_its_loss_reaches(finished):
    """By their offsets, which start at the mean training rating (0 for preferences) and do not decay."""
    with np.load(finished / "train" / "trained.npz") as stored:
        ratings, rated = stored["ratings 0"], stored["rated 0"]
    start = np.append((ratings * rated).sum(0) / rated.sum(0), 0)
    offsets, kernels = {}, {}
    for arm in ("preferences", "rules", "joint"):
        with np.load(finished / "train" / f"{arm}.0" / "heads.npz") as stored:
            offsets[arm], kernels[arm] = stored["bias"], stored["kernel"]
    np.testing.assert_allclose(offsets["preferences"], start, atol=1e-6)
    assert offsets["rules"][-1] == 0 and all((offsets[arm][:-1] != start[:-1]).all() for arm in ("rules", "joint"))
    unreached = kernels["rules"][:, -1]
    assert all((kernels[arm][:, -1] != unreached).all() for arm in ("preferences", "joint"))


def test_comparisons_and_other_rated_responses_become_trees_of_their_own(files):
    run = ingested(files)
    texts = joint_texts(run, "subset", 0.5, 0)
    assert texts.domains == ["far", "near"] and not texts.rated[:, -1].any()
    assert texts.texts[-1][1] == "Never compared." and texts.rated[-1].tolist() == [True, False, True, False]
    known = {(r.prompt, r.response): r for r in run.rated}
    for text, ratings, rated in zip(texts.texts, texts.ratings, texts.rated, strict=True):
        record = known.get(text)
        assert rated[:-1].tolist() == ([False] * 3 if record is None else record.mask.tolist())
        np.testing.assert_allclose(ratings[:-1], 0 if record is None else np.where(record.mask, record.ratings, 0))
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 50, rng.integers(3, 9)) for _ in texts.texts]
    trees = joint_trees(texts, sequences, 32)
    keys = [tree.keys for tree in trees.chosen(texts, np.ones(len(texts.texts), bool))]
    assert sorted(key for tree in keys for key in tree) == list(range(len(texts.texts)))
    assert [len(tree) for tree in keys] == [2] * texts.comparisons + [1] * (len(texts.texts) - 2 * texts.comparisons)
    assert joint_targets(texts, {}).pairs.tolist() == [[2 * n, 2 * n + 1] for n in range(texts.comparisons)]


def ingested(files) -> Ingested:
    return ingest(Sources(tiny(files).data), 0)


def test_accuracy_and_error_against_numpy():
    """Two domains, one model of each arm; the difference is paired, and unrated comparisons have no error."""
    rng = np.random.default_rng(0)
    cells = [{"arm": arm, "trained_on": "a", "name": arm} for arm in ("preferences", "rules", "joint")]
    scores = {cell["name"]: rng.standard_normal((40, 2, 3)).astype(np.float32) for cell in cells}
    weights = {"a": {ENCORE: np.array([0.8, 0.2], np.float32), UNIFORM: np.array([0.5, 0.5], np.float32)}}
    domain, cluster = np.array(["a"] * 25 + ["b"] * 15), np.arange(40) // 2
    rows = {(r["tested_on"], r["arm"], r["method"]): r
            for r in accuracy_rows(cells, scores, weights, domain, cluster, 0, 200)}  # fmt: skip
    right = scores["joint"][25:, :, :2] @ weights["a"][ENCORE]
    base = scores["preferences"][25:, :, 2]
    joint = rows["b", "joint", ENCORE]
    assert joint["accuracy"]["value"] == pytest.approx((right[:, 0] > right[:, 1]).mean())
    expected = (right[:, 0] > right[:, 1]).mean() - (base[:, 0] > base[:, 1]).mean()
    assert joint["minus_preferences"]["value"] == pytest.approx(expected)
    ratings, rated = rng.random((40, 2, 2)).astype(np.float32), rng.random((40, 2, 2)) < 0.4
    rated[30:] = False
    found = error_rows(cells, scores, ratings, rated, {"a": np.zeros(2)}, domain, cluster, 0, 200)
    errors = {(row["tested_on"], row["arm"]): row for row in found}
    each = [((scores["rules"][n, :, :2] - ratings[n])[rated[n]] ** 2).mean() for n in range(25) if rated[n].any()]
    assert errors["a", "rules"]["error"]["value"] == pytest.approx(np.mean(each), rel=1e-5)
    assert errors["a", "rules"]["n"] == len(each) and errors["b", "joint"]["n"] <= 5
    assert errors["a", "rules"]["minus_rules"] is None and errors["a", "constant"]["minus_rules"] is not None


@pytest.mark.parametrize(("changes", "field", "said"), [
    ({"trainable": "heads"}, "train.trainable", "share no parameter"),
    ({"loss": "bradley_terry"}, "train.loss", "use one of joint"),
    ({"method": "ridge"}, "train.method", "use one of gradient"),
    ({"rating_weight": -1.0}, "train.rating_weight", "not negative"),
    ({"train_on": ("near", "near")}, "train.train_on", "no domain twice"),
    ({"domain": "language"}, "domain", "use one of source, subset"),
])  # fmt: skip
def test_choices_that_make_no_sense_are_refused(files, changes, field, said):
    with pytest.raises(InputError, match=rf"config\.{field}: .*{said}"):
        tiny(files, **changes)


def test_what_cannot_be_trained_on_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="no comparison is of 'elsewhere'.*far, near"):
        run_experiment(tiny(files, train_on=("elsewhere",)), tmp_path / "domain", until="train")
    refused = {PREFERENCE: "'preference'.*rename the rule", "silent": "of domain near is rated on 'silent'"}
    for rule, said in refused.items():
        path = tmp_path / f"{rule}.yaml"
        RulePool((*tiny_run.POOL.rules, Rule(rule, "The response is liked.")), "more").to_yaml(path)
        config = tiny(files)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, pool=str(path)))
        with pytest.raises(InputError, match=said):
            run_experiment(validated(config), tmp_path / rule, until="train")


def test_the_loss_has_a_recipe_of_its_own(files):
    config = tiny_run.config(files)
    config.train = TrainConfig(method="gradient", loss="joint")
    with pytest.raises(InputError, match=r"config\.train\.loss: .*joint_smollm2"):
        validated(config)
