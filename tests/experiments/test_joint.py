"""Joint training as an experiment: its arms, what each learns in and out of distribution, and their exports."""

import asyncio
import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli.export import main as export_main
from encore_jax.cli.export_run import export_run
from encore_jax.cli.finished_joint import HEADS
from encore_jax.cli.finished_run import read_run
from encore_jax.cli.joint_choice import ARMS, HEAD_NAMES, Choice
from encore_jax.cli.score import score_file
from encore_jax.composition import entropy_weights
from encore_jax.composition.settings import ENCORE, UNIFORM
from encore_jax.errors import InputError
from encore_jax.evaluation.joint import PREFERENCE_HEAD
from encore_jax.model.heads import PREFERENCE
from encore_jax.recipes.joint_config import LOSS_OF
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.joint import JointModels
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.app import App, Limits
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service
from experiments.published import joint_arms_section, joint_section
from tests.experiments import tiny_joint, tiny_run
from tests.experiments.tiny_joint import config
from tests.report.page_checks import check_page
from tests.serve.asgi import request

OPTIONS = dict(folded=False, peft=False, allow_mismatch=False, shard_bytes=10**9)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_joint.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    run_experiment(config(files), workdir)
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
    arms = joint_arms_section(results).splitlines()
    assert [line.split(" | ")[:3] for line in arms[2:]] == [
        ["| near", "preferences alone", "preference head"],
        ["| near", "rules alone", "ENCORE"],
        ["| near", "joint", "preference head"],
    ]
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


# Exports


def exported(workdir, out, choice, **options) -> RewardModel:
    return RewardModel.from_pretrained(export_run(read_run(workdir, choice), out, **OPTIONS | options))


def held_out(workdir, number=6):
    """Some held-out comparisons, the preferred response first, and the run's own scores of them by model."""
    models = JointModels.load(workdir / "train")
    comparisons = Ingested.load(workdir / "ingest").comparisons
    chosen = [comparisons[n] for n in models.comparison[:number]]
    responses = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in chosen]
    return [c.prompt for c in chosen], responses, {name: s[:number] for name, s in models.scores.items()}


@pytest.fixture(scope="module")
def by_preference(finished, tmp_path_factory) -> Path:
    return export_run(read_run(finished), tmp_path_factory.mktemp("export") / "preference", **OPTIONS)


def test_an_export_scores_as_the_run_did_and_its_reward_is_the_preference_head(finished, by_preference):
    model = RewardModel.from_pretrained(by_preference)
    prompts, responses, scores = held_out(finished)
    assert model.rules == (*tiny_run.POOL.names, PREFERENCE)
    np.testing.assert_allclose(np.stack(model.scores(prompts, responses)), scores["joint.0"], atol=1e-5)
    np.testing.assert_allclose(np.stack(model.rewards(prompts, responses)), scores["joint.0"][..., -1], atol=1e-5)
    card = (by_preference / "README.md").read_text()
    rows = json.loads((finished / "results.json").read_text())["accuracy"]
    [row] = [r for r in rows if (r["tested_on"], r["arm"], r["method"]) == ("far", "joint", PREFERENCE_HEAD)]
    assert f"{row['accuracy']['value']:.4f}" in card and "far, which it was not trained on" in card
    assert "Arm `joint` with λ = 1, trained on near" in card and "alone the reward" in card
    mixed = model.weighted({PREFERENCE: 0.5, "kindness": 2.0}).rewards(prompts, responses)
    np.testing.assert_allclose(np.stack(mixed), scores["joint.0"] @ [0, 0, 2, 0.5], atol=1e-4)


def test_the_reward_may_be_the_rule_heads_by_the_weights_of_the_run(files, finished, tmp_path):
    model = exported(finished, tmp_path / "out", Choice(head="rules"), folded=False)
    prompts, responses, scores = held_out(finished)
    models, weights = (
        JointModels.load(finished / "train"),
        json.loads((finished / "results.json").read_text())["weights"],
    )
    assert model.rules == tiny_run.POOL.names and model.passport.weighting == ENCORE
    assert dict(zip(model.rules, model.weights.tolist(), strict=True)) == pytest.approx(weights["near"])
    settings = config(files).compose
    entropy = settings.entropy(models.trained_ratings["near"], models.trained_rated["near"], model.rules)
    np.testing.assert_allclose(model.passport.entropy, entropy, rtol=1e-6)
    np.testing.assert_allclose(model.weights, entropy_weights(entropy, settings.tau), rtol=1e-6)
    own = scores["joint.0"][..., :-1] @ model.weights
    np.testing.assert_allclose(np.stack(model.rewards(prompts, responses)), own, atol=1e-5)


@pytest.mark.parametrize(("arm", "rules"), [("preferences", (PREFERENCE,)), ("rules", tiny_run.POOL.names)])
def test_an_export_has_the_heads_that_its_arm_trained_and_no_others(finished, tmp_path, arm, rules):
    model = exported(finished, tmp_path / "out", Choice(arm=arm, trained_on="near"))
    prompts, responses, scores = held_out(finished, 3)
    columns = [[*tiny_run.POOL.names, PREFERENCE].index(rule) for rule in rules]
    assert model.rules == rules and len(model.weights) == len(rules)
    np.testing.assert_allclose(np.stack(model.scores(prompts, responses)), scores[f"{arm}.0"][..., columns], atol=1e-5)


@pytest.mark.parametrize(("choice", "said"), [
    (Choice(arm="rules", head="preference"), "--head=preference: the loss of arm 'rules' trains no preference head"),
    (Choice(arm="preferences", head="rules"), "--head=rules: the loss of arm 'preferences' trains no rule heads"),
    (Choice(trained_on="far"), "no model of the run is of --trained-on=far. Fix: use --trained-on= with one of near"),
])  # fmt: skip
def test_a_reward_that_was_not_trained_is_refused(finished, choice, said):
    with pytest.raises(InputError, match=said):
        read_run(finished, choice)


def test_an_export_is_scored_from_files_and_served(finished, by_preference, tmp_path):
    prompts, responses, scores = held_out(finished, 3)
    rewards = scores["joint.0"][..., -1]
    rows = [{"prompt": prompt[-1].content, "responses": both} for prompt, both in zip(prompts, responses, strict=True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = RewardModel.from_pretrained(by_preference)
    score_file(model, tmp_path / "rows.jsonl", tmp_path / "scored.parquet", tokens_per_batch=512)
    table = pq.read_table(tmp_path / "scored.parquet")
    np.testing.assert_allclose(np.stack(table.column("rewards").to_pylist()), rewards, atol=1e-5)
    with contextlib.closing(Service(Scorer(model, tokens_per_batch=512), "joint", 10_000)) as service:
        service.batcher.start()
        app = App(service, Metrics(), "", Limits())
        reply = asyncio.run(request(app.asgi, "/v1/score", {"items": rows}))
    assert reply.status == 200, reply.body
    for item, own in zip(reply.json()["items"], rewards, strict=True):
        assert item["rewards"] == pytest.approx(own.tolist(), abs=1e-5)


@pytest.mark.parity
def test_transformers_gives_the_reward_of_the_run(finished, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    prompts, responses, scores = held_out(finished, 3)
    folder = export_run(read_run(finished), tmp_path / "out", **OPTIONS | {"folded": True})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, both, own in zip(prompts, responses, scores["joint.0"][..., -1], strict=True):
        for response, reward in zip(both, own, strict=True):
            chat = [{"role": "user", "content": prompt[-1].content}, {"role": "assistant", "content": response}]
            ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=False)
            with torch.inference_mode():
                logit = model(ids).logits[0].item()
            assert logit + model.config.encore_jax["offset"][0] == pytest.approx(float(reward), abs=1e-4)


def test_the_command_line_knows_arms_and_heads_before_it_reads_a_run():
    assert set(ARMS) == set(LOSS_OF) and tuple(HEADS) == HEAD_NAMES


def test_the_command_exports_the_choice(finished, tmp_path, capsys):
    export_main([f"--workdir={finished}", f"--out={tmp_path / 'out'}", "--head=rules", "--folded"])
    assert RewardModel.from_pretrained(tmp_path / "out").rules == ("reward",)
    assert "--head=rules --folded" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(SystemExit):
        export_main([f"--workdir={finished}", f"--out={tmp_path / 'other'}", "--arm=rules", "--head=preference"])
    assert "trains no preference head" in capsys.readouterr().err and not (tmp_path / "other").exists()
