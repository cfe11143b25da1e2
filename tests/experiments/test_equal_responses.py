"""Rows whose responses are equal tie, whatever scores them: files in chunks, benchmarks, heads, trained models."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import score
from encore_jax.data import Comparison, Message
from encore_jax.data.prefix_tree import make_trees
from encore_jax.evaluation.convention_scores import ConventionScores
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.heads import Heads
from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scored import Scored
from encore_jax.reward.scorer import Scorer
from encore_jax.serve import dialects
from encore_jax.serve.dialects import Served
from encore_jax.train.batches import held_out_batches
from encore_jax.train.fine_tune import end_scores
from encore_jax.train.packing import step_shape
from tests.experiments import tiny_reward_model
from tests.train import tiny_training

ROWS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("equal")
    tiny_reward_model.write(made)
    pairs = [
        {"prompt": f"Question {i}?" * (1 + i % 5), "chosen": f"Answer {i % 3}.", "rejected": f"Answer {i % 3}."}
        | {"chosen_model": "a", "rejected_model": "b", "subset": "donotanswer", "id": i}
        for i in range(ROWS)
    ]
    (made / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    repeated = [{"prompt": f"Q {i % 7}?", "responses": [f"No {i % 3}.", f"Yes {i}."]} for i in range(ROWS)]
    repeated[5]["responses"].append("far too long " * 40)
    (made / "repeated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in repeated))
    return made


@pytest.fixture(scope="module")
def model(folder):
    return RewardModel.from_pretrained(folder / "model")


def test_the_batch_scorer_finds_only_ties(folder, model):
    counts = score.score_file(model, folder / "pairs.jsonl", folder / "pairs.parquet", tokens_per_batch=512)
    assert (counts["judged"], counts["accuracy"], counts["ties"]) == (ROWS, 0.0, ROWS)
    assert all(row["best"] == 0 for row in pq.read_table(folder / "pairs.parquet").to_pylist())


def test_rewards_that_tie_but_for_rounding_share_the_first_place(folder, model, tmp_path, monkeypatch):
    """0.9 + 0.1 and 0.8 + 0.2 are equal, whatever their sums in floating point; the third is less by a hundredth."""
    grid = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.3], [0.3, 0.9, 0.07]], np.float32)
    monkeypatch.setattr(
        Scorer, "run_sequences", lambda self, sequences, groups, label="": np.tile(grid, (len(sequences) // 3, 1))
    )
    rows = [{"prompt": "Q?", "responses": ["a", "b", f"c {i}"], "preferred": i} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    equal = model.weighted("equal")
    counts = score.score_file(equal, tmp_path / "rows.jsonl", tmp_path / "out.parquet")
    assert (counts["judged"], counts["accuracy"], counts["ties"], counts["shared_first_place"]) == (3, 0.0, 2, 3)
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["best"], row["first_place"]) for row in table] == [(0, [0, 1])] * 3
    score.write_best(tmp_path / "rows.jsonl", "auto", tmp_path / "out.parquet", tmp_path / "best.jsonl")
    best = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [(row["response"], row["first_place"]) for row in best] == [("a", [0, 1])] * 3
    served = Served("tiny", equal.rules, equal.weights)
    asked = dialects.score({"prompt": "Q?", "responses": ["a", "b", "c"], "explain": True}, served)
    scored = Scored(grid[[2, 1, 0]], np.broadcast_to(equal.weights, (3, 3)))
    item = asked.answer(scored, [1, 1, 1])["items"][0]
    assert (item["best"], item["first_place"]) == (1, [1, 2]) and len(item["decided_by"]) == 3


def test_a_benchmarks_rewards_that_tie_are_read_as_equal(tmp_path):
    rewards, slack = np.array([0.5, 0.5 + 3e-8, 0.5, 0.4999], np.float32), np.full(4, 1e-7, np.float32)
    ConventionScores(rewards[:, None], rewards, slack, [[]] * 4, "float32").save(tmp_path / "scores.npz")
    pairs = [Comparison((Message("user", "?"),), ("a", "b"), 0, id=str(i)) for i in range(2)]
    found, notes = ConventionScores.load(tmp_path / "scores.npz").by_comparison(pairs)
    assert rewards[0] != rewards[1] and found[0][0] == found[0][1] and found[1][0] > found[1][1]
    assert notes == [[], []]


@pytest.mark.parametrize("killed_after", [None, 1, 3])
def test_equal_texts_of_many_chunks_have_one_score_also_after_a_restart(folder, model, monkeypatch, killed_after):
    monkeypatch.setattr(score, "CHUNK", 9)
    output, runs, run = folder / f"repeated-{killed_after}.parquet", [], Scorer.run

    def counted(self, batches, count):
        if len(runs) == killed_after:
            runs.append("killed")
            raise KeyboardInterrupt
        runs.append(count)
        return run(self, batches, count)

    monkeypatch.setattr(Scorer, "run", counted)
    if killed_after is not None:
        with pytest.raises(KeyboardInterrupt):
            score.score_file(model, folder / "repeated.jsonl", output, tokens_per_batch=512)
    score.score_file(model, folder / "repeated.jsonl", output, tokens_per_batch=512)
    table = pq.read_table(output).to_pylist()
    found = {}
    for i, row in enumerate(table):
        columns = [(row["rewards"][0], *(row[f"score:{rule}"][0] for rule in model.rules))]
        found.setdefault((i % 7, i % 3), []).extend(columns)
    assert len(found) == 21 and all(len(set(values)) == 1 for values in found.values())
    assert len(set(map(tuple, found.values()))) > 15 and table[5]["rewards"][2] is None
    if killed_after is None:
        assert runs == [19, 18, 12, 9, 4]  # the rows repeat from the 22nd on: what no chunk before has scored


def test_a_benchmark_of_equal_responses_has_only_ties(folder, tmp_path):
    config = BenchmarkConfig(
        model=str(folder / "model"), data=str(folder / "pairs.jsonl"), format="rewardbench", replicates=100,
        tokens_per_batch=512, peer="hf",
    )  # fmt: skip
    run_experiment(validated(config), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    (entry,) = results["subsets"].values()
    assert (entry["n"], entry["correct"], entry["ties"]) == (ROWS, 0, ROWS)
    assert results["peer"]["differences"] == []


def test_equal_features_have_equal_scores_by_heads():
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(3, 200)).astype(np.float32), 37, 0)[rng.permutation(111)]
    kernel = rng.normal(size=(200, 2)).astype(np.float32)
    scores = Heads(kernel, np.zeros(2, np.float32), np.zeros(0, np.int64), np.zeros((0, 2), np.float32)).scores(rows)
    assert np.unique(scores, axis=0).shape == (3, 2)


@pytest.fixture(scope="module")
def trained():
    program = tiny_training.program(tiny_training.settings())
    return program, tiny_training.start(program).params


def comparisons():
    """Six pairs of sequences; those of the second and the last are equal."""
    rng = np.random.default_rng(2)
    made = []
    for n in range(6):
        prompt = rng.integers(0, 32, 4 + n).tolist()
        answers = [rng.integers(0, 32, 3 + n).tolist() for _ in range(2)]
        made += [np.array(prompt + answers[0 if n in (1, 5) else i], np.int32) for i in range(2)]
    return made


def test_a_trained_model_ties_on_equal_responses_and_learns_nothing_from_them(trained):
    (program, params), laid = trained, lay_comparisons(comparisons(), tiny_training.LENGTH)
    assert laid.same == {3: 2, 11: 10} and len(laid.kept) == 6
    ratings = np.zeros((12, tiny_training.RULES), np.float32)
    targets = preference_targets(6, same=laid.same)
    targets.ratings, targets.rated = ratings, ratings.astype(bool)
    found = end_scores(program, params, laid.trees, targets)
    assert sorted(found) == list(range(12))
    for n in range(6):
        assert (found[2 * n] == found[2 * n + 1]).all() == (n in (1, 5))
    shape = step_shape(tiny_training.settings())._replace(rows=3, ends=12)
    for batch in held_out_batches(laid.trees, targets, shape):
        ends = {int(key): m for m, key in enumerate(batch.trees.key) if key >= 0}
        for better, worse in zip(batch.better[batch.paired], batch.worse[batch.paired], strict=True):
            assert (better == worse) == (int(batch.trees.key[better]) in (2, 10))
        assert batch.paired.sum() == len(ends) / 2


def test_tokens_of_equal_sequences_are_run_once_when_trained_models_score(trained):
    (program, params), counted = trained, []
    sequence = np.arange(9, dtype=np.int32)
    trees = [tree for i in range(4) for tree in make_trees([sequence, sequence], (2 * i, 2 * i + 1), 48)]

    class Program:
        shape = program.shape

        @staticmethod
        def scores(params, batch):
            counted.append(int((batch.trees.tree > 0).sum()))
            return program.scores(params, batch)

    ratings = np.zeros((8, tiny_training.RULES), np.float32)
    targets = preference_targets(4)
    targets.ratings, targets.rated = ratings, ratings.astype(bool)
    found = end_scores(Program, params, trees, targets)
    assert sum(counted) == len(sequence) and len(np.unique(np.stack(list(found.values())), axis=0)) == 1
