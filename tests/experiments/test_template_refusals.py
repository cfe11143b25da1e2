"""A row that the chat template refuses is left out, counted and named; the other rows are as if it were not there."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import score
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.evaluation.conventions import Convention, lay
from encore_jax.judge.devices.model import ModelJudge
from encore_jax.judge.question import Question
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.outside import ModelFiles, Sources
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.frozen import frozen_features
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.preferences import lay_comparisons
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.report.benchmark_report import benchmark_table
from encore_jax.reward.passport import model_digest
from encore_jax.reward.sequences import fits, prompt_trees, token_sequences
from encore_jax.rules import Rule
from encore_jax.text.tokenizer import TemplateRefusal, load_tokenizer, template_digest
from tests.experiments import tiny_model, tiny_reward_model, tiny_run

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + tiny_model.TEMPLATE
)
PLAIN = ((Message("user", "Hi"),), "No.")
SYSTEM = ((Message("system", "Be brief."), Message("user", "Hi")), "No.")


def tokenizer():
    made = tiny_model.tokenizer()
    made.chat_template = NO_SYSTEM
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The tiny run's files, its model with a template that takes no system message, one row with one in each file."""
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    tokenizer().save_pretrained(folder / "model")
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    for name, row in (
        ("pairs.jsonl", {"prompt": prompt, "chosen": "No.", "rejected": "Sure!"}),
        ("rated.jsonl", {"prompt": prompt, "response": "No.", "ratings": {"violence": 0, "privacy": 0, "kindness": 1}}),
    ):
        first, *others = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([first, json.dumps(row), *others]) + "\n")
    return folder


def test_a_refusal_names_the_text_or_is_collected():
    texts = [PLAIN, SYSTEM, PLAIN]
    with pytest.raises(TemplateRefusal, match=r"^text 1: .*System role not supported"):
        token_sequences(tokenizer(), texts, "last", None)
    refused = {}
    sequences = token_sequences(tokenizer(), texts, "last", None, refused)
    assert [sequence is None for sequence in sequences] == [False, True, False] and list(refused) == [1]
    assert not fits(None, 1000) and [tree.keys for tree in prompt_trees(texts, sequences, 1000)] == [(0, 2)]
    assert lay_comparisons([sequences[0], sequences[1], sequences[0], sequences[0]], 500).kept.tolist() == [1]


def test_refusing_every_text_ends_the_run():
    with pytest.raises(InputError, match="not one of 2 texts can be rendered; the first, row 0: .*System role"):
        tokenized(tokenizer(), [SYSTEM, SYSTEM], "last", lambda i: f"row {i}")


def test_the_scorer_writes_null_and_the_reason(tmp_path):
    model = dataclasses.replace(tiny_reward_model.in_memory(), tokenizer=tokenizer())
    rows = [{"id": f"r{i}", "prompt": "Hi", "responses": ["No.", f"Sure {i}."]} for i in range(5)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[3]["prompt"] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = score.score_file(model, tmp_path / "rows.jsonl", tmp_path / "out.parquet")
    assert (counts["rows"], counts["refused"], counts["too_long"], counts["rows_with_reason"]) == (5, 2, 0, 1)
    score.score_file(model, tmp_path / "plain.jsonl", tmp_path / "plain.parquet")
    got, plain = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("out", "plain"))
    assert got[3]["rewards"] == [None, None] == got[3]["tokens"] and got[3]["best"] is None
    assert "response 0: the chat template refuses" in got[3]["reason"]
    assert "response 1: the chat template refuses" in got[3]["reason"]
    for i in (0, 1, 2, 4):
        np.testing.assert_allclose(got[i]["rewards"], plain[i]["rewards"], atol=2e-5)
        assert got[i]["reason"] is None
    with pytest.raises(InputError, match="text 0: the chat template refuses"):
        model.scores([SYSTEM[0]], [["No."]])


def test_heads_are_trained_without_the_refused_texts(files, tmp_path):
    config = tiny_run.config(files)
    run_experiment(validated(config), tmp_path, until="baselines")
    counts = json.loads((tmp_path / "train" / "counts.json").read_text())
    assert counts["texts_refused_by_template"] == 2
    assert counts["rated_responses_refused_by_template"] == 1 == counts["comparisons_refused_by_template"]
    assert counts["comparisons_dropped_too_long"] == 0 == counts["dropped"]
    assert counts["first_refused_by_template"].startswith("comparison pairs.jsonl:2: the chat template refuses")
    scores = np.load(tmp_path / "train" / "scores-human.npy")
    assert np.isnan(scores).all(1).sum() == 2 and np.isfinite(scores).all(1).sum() == len(scores) - 2
    with np.load(tmp_path / "baselines" / "baselines.npz") as stored:
        for rewards in stored.values():
            assert np.isnan(rewards).any(1).sum() == 1


def test_preferences_are_trained_without_the_refused_comparisons(files, tmp_path):
    config = tiny_run.config(files)
    config.train = TrainConfig(
        method="gradient", loss="bradley_terry", trainable="heads", rows=8, length=256, max_steps=1, remat="none"
    )
    config.data.ratings_path = ""
    run_experiment(validated(config), tmp_path, until="train")
    counts = json.loads((tmp_path / "train" / "counts.json").read_text())
    assert (counts["comparisons_refused_by_template"], counts["comparisons_dropped_too_long"]) == (1, 0)
    assert counts["first_refused_by_template"].startswith("comparison pairs.jsonl:2: ")


def test_a_benchmark_leaves_refused_comparisons_out_and_names_the_first(files, tmp_path):
    assert lay(tokenizer(), Convention("last"), *SYSTEM, 100, 257).tokens is None
    saved = tiny_reward_model.in_memory()
    backbone = files / "model"
    model = dataclasses.replace(saved, tokenizer=load_tokenizer(backbone))
    passport = dataclasses.replace(
        saved.passport, model_sha256=model_digest(backbone), template_sha256=template_digest(model.tokenizer)
    )
    dataclasses.replace(model, passport=passport).save(tmp_path / "saved", str(backbone))
    config = BenchmarkConfig(
        model=str(tmp_path / "saved"), data=str(files / "pairs.jsonl"), replicates=100, tokens_per_batch=512
    )
    run_experiment(validated(config), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    counts = results["counts"]
    assert (counts["comparisons_dropped_too_long"], counts["comparisons_refused"]) == (0, 1)
    assert counts["first_refused"].startswith("pairs.jsonl:2: response 1: dropped: the chat template refuses")
    assert "1 comparisons left out; the first, pairs.jsonl:2" in benchmark_table(results)


def test_a_model_as_judge_fails_on_the_refused_conversation_alone():
    model = dataclasses.replace(tiny_reward_model.in_memory(), tokenizer=tokenizer())
    rule = Rule("kindness", "The response is kind.")
    questions = [Question(str(i), prompt, response, rule) for i, (prompt, response) in enumerate((PLAIN, SYSTEM))]
    (_, good), (_, bad) = ModelJudge(model, "tiny").answers(questions)
    assert good.rating is not None and bad.rating is None and "System role not supported" in bad.problem


def test_frozen_features_count_what_is_refused(files, tmp_path):
    config = tiny_run.config(files)
    data, model = ingest(Sources(config.data), 0), ModelFiles(config.model, offline=True)
    needed = {"response": True, "pair": False, "rated": True}
    counts = frozen_features(model, data, None, **needed, seed=0, mesh=MeshSettings(), folder=tmp_path).counts
    assert (counts["comparisons_refused_by_template"], counts["rated_responses_refused_by_template"]) == (1, 1)
    assert (counts["comparisons_dropped_too_long"], counts["rated_responses_dropped_too_long"]) == (0, 0)
