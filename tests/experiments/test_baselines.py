"""Baselines and audit of a miniature run: every one in the table, none trained on held-out prompts, all adding up."""

import json

import numpy as np
import pytest

from encore_jax.data import iter_comparisons
from encore_jax.errors import InputError
from encore_jax.evaluation.view import View
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages import baselines
from encore_jax.train.gating import GateSettings
from tests.experiments import tiny_run


def verdict(comparison, number):
    return {"id": comparison.id, "verdict": "A" if number % 3 else "tie", "first": comparison.preferred}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_run.config(files)
    run_experiment(validated(config), workdir, until="ingest")
    comparisons = list(iter_comparisons(workdir / "ingest" / "comparisons.jsonl"))
    rows = [verdict(c, i) for i, c in enumerate(comparisons)]
    (files / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.baselines.verdicts = str(files / "verdicts.jsonl")
    run_experiment(validated(config), workdir)
    return workdir


@pytest.fixture(scope="module")
def methods(finished):
    results = json.loads((finished / "results.json").read_text())
    view = next(view for view in results["views"] if view["name"] == "heads")
    return {method["name"]: method for method in view["methods"]}


def test_every_baseline_is_in_the_one_table_with_an_interval(methods):
    wanted = {name: "train labels" for name in (baselines.GATE, baselines.BALANCED)}
    wanted |= {baselines.HEAD: "train labels", baselines.JUDGE: "text"}
    wanted |= {"rule-based reward (hinge)": "train labels", "Bradley-Terry weights": "train labels"}
    wanted |= {"uniform": "nothing", "random (Dirichlet)": "nothing", "heuristic: refusal": "text", "ENCORE": "ratings"}
    wanted |= {"inverse variance": "ratings", "accuracy-weighted (oracle)": "test labels", "single: privacy": "nothing"}
    assert {name: methods[name]["sees"] for name in wanted} == wanted
    for method in methods.values():
        accuracy = method["accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert method["name"] == "uniform" or 0 < method["test"]["prompt_p"] <= 1


def test_the_judges_verdicts_are_counted_as_they_are(finished, methods):
    comparisons = list(iter_comparisons(finished / "ingest" / "comparisons.jsonl"))
    held_out = set(np.load(finished / "audit" / "contributions.npz")["id"].tolist())
    said = [verdict(c, i)["verdict"] for i, c in enumerate(comparisons) if c.id in held_out]
    judge = methods[baselines.JUDGE]
    assert (judge["n"], judge["correct"], judge["ties"]) == (len(said), said.count("A"), said.count("tie"))


def test_the_gate_weighs_the_heads_scores_by_prompt_alone(finished):
    view = View.load(finished / "score" / "view-heads.npz")
    rewards, scores = view.baselines[baselines.GATE].rewards, view.test.scores
    by_prompt = {}
    for prompt in np.unique(view.test.cluster):
        rows = view.test.cluster == prompt
        x, y = scores[rows].reshape(-1, scores.shape[2]), rewards[rows].reshape(-1)
        weights, _, rank, _ = np.linalg.lstsq(x.astype(np.float64), y, rcond=None)
        np.testing.assert_allclose(x @ weights, y, atol=1e-5)
        by_prompt[prompt] = weights if rank == scores.shape[2] else None
    full = [w for w in by_prompt.values() if w is not None]
    assert all((w > 0).all() for w in full) and np.ptp(full, axis=0).max() > 1e-6


def test_what_is_told_of_the_gates(finished):
    told = json.loads((finished / "results.json").read_text())["counts"]["baselines"]
    recipe, balanced = told[baselines.GATE], told[baselines.BALANCED]
    assert recipe["scale at first"] == 1 != balanced["scale at first"]
    assert abs(recipe["scale at last"] - 1) < 4e-3  # four steps of 1e-3 at most
    page = (finished / "report.html").read_text()
    assert "ArmoRM gate, balanced: scale at first" in page


def test_no_baseline_depends_on_held_out_preferences(finished, files, tmp_path):
    """Turning all held-out labels changes no reward, so none was fitted on them."""
    view = View.load(finished / "score" / "view-heads.npz")
    held_out = set(np.load(finished / "audit" / "contributions.npz")["id"].tolist())
    rows = [json.loads(line) for line in (files / "pairs.jsonl").read_text().splitlines()]
    ids = [c.id for c in iter_comparisons(finished / "ingest" / "comparisons.jsonl")]
    turned = [
        row | {"chosen": row["rejected"], "rejected": row["chosen"]} if name in held_out else row
        for row, name in zip(rows, ids, strict=True)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turned))
    config = tiny_run.config(files)
    config.data.path = str(tmp_path / "pairs.jsonl")
    run_experiment(validated(config), tmp_path / "run", until="score")
    other = View.load(tmp_path / "run" / "score" / "view-heads.npz")
    for name in (baselines.GATE, baselines.BALANCED, baselines.HEAD):
        np.testing.assert_allclose(
            other.baselines[name].rewards[:, ::-1], view.baselines[name].rewards, rtol=1e-4, atol=1e-5
        )


def test_a_comparison_that_the_judge_never_saw_is_refused(files, tmp_path):
    config = tiny_run.config(files)
    (tmp_path / "few.jsonl").write_text('{"id": "pairs.jsonl:1", "verdict": "A"}\n')
    config.baselines.verdicts = str(tmp_path / "few.jsonl")
    with pytest.raises(InputError, match="no verdict on comparison"):
        run_experiment(validated(config), tmp_path / "run", until="baselines")


def test_contributions_sum_to_the_composed_margin_of_every_comparison(finished):
    stored = np.load(finished / "audit" / "contributions.npz")
    view = View.load(finished / "score" / "view-heads.npz")
    composition = json.loads((finished / "compose" / "composition.json").read_text())["heads"]
    weights = np.array([composition["weights"][name] for name in view.rules])
    first = view.test.first_preferred.astype(np.float64)
    margin = (first[:, 0] - first[:, 1]) @ weights
    np.testing.assert_allclose(stored["contribution"].sum(1), margin, atol=1e-6)
    told = json.loads((finished / "audit" / "audit.json").read_text())
    assert sum(rule["shapley"] for rule in told["rules"]) == pytest.approx(told["accuracy"] - 0.5, abs=1e-5)
    assert (finished / "audit.html").read_bytes() == (finished / "audit" / "audit.html").read_bytes()


def test_what_is_told_of_a_gate_leaves_out_prompts_too_long():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(6, 4)).astype(np.float32)
    embedding[5] = np.nan  # the model has no room for this prompt, nor for any text that begins with it
    settings = GateSettings(width=8, steps=3, batch=4)
    weights, told = baselines._gate("gate", settings, embedding, np.array([0, 1, 2, 3]), rng.normal(size=(4, 3)), 0)
    assert all(np.isfinite(value) for value in told.values())
    assert told["prompts left out as too long or refused"] == 1
    share = (weights[:5] / weights[:5].sum(1, keepdims=True)).max(1).mean()
    assert told["largest share of a rule (mean over prompts)"] == pytest.approx(float(share), abs=1e-4)
