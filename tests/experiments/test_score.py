"""The batch scorer: right numbers in the right rows, nothing lost, and the same file after a kill."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from absl.testing import flagsaver

from encore_jax.cli import score
from encore_jax.cli.score_parts import Parts, metadata
from encore_jax.cli.score_rows import read_items
from encore_jax.composition import compose
from encore_jax.data import write_comparisons
from encore_jax.data.comparison import Comparison, Message
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from tests.experiments import tiny_model, tiny_reward_model
from tests.reward.test_intervals import rated

ROWS = [
    {
        "id": f"row {i}",
        "prompt": f"Question {i % 7}?",
        "responses": [f"Answer {i}.", "No.", "Sure! " * (1 + i % 5)][: 1 + i % 3],
    }
    for i in range(40)
]
ROWS[11]["responses"] = ["No.", "far too long " * 40, ""]
ROWS[13]["preferred"] = 0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    tiny_reward_model.write(folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


@pytest.fixture(scope="module")
def model(files):
    return RewardModel.from_pretrained(files / "model")


@pytest.fixture(scope="module")
def whole(files, model):
    output = files / "whole.parquet"
    return score.score_file(model, files / "rows.jsonl", output, tokens_per_batch=512), pq.read_table(output)


def test_every_score_is_that_of_its_text_alone(model, whole):
    _, table = whole
    assert table.column("id").to_pylist() == [row["id"] for row in ROWS]
    kept = [i for i in range(len(ROWS)) if i != 11]
    texts = [((Message("user", ROWS[i]["prompt"]),), response) for i in kept for response in ROWS[i]["responses"]]
    alone = iter(tiny_reward_model.scores_alone(model, texts))
    for got, row in ((table.slice(i, 1).to_pylist()[0], ROWS[i]) for i in kept):
        expected = np.array([next(alone) for _ in row["responses"]])
        for k, rule in enumerate(model.rules):
            np.testing.assert_allclose(got[f"score:{rule}"], expected[:, k], atol=2e-5)
        rewards = np.asarray(compose(expected, model.weights))
        np.testing.assert_allclose(got["rewards"], rewards, atol=2e-5)
        assert got["best"] == rewards.argmax()


def test_what_is_too_long_is_null_with_a_reason(whole):
    counts, table = whole
    row = table.to_pylist()[11]
    assert [reward is None for reward in row["rewards"]] == [False, True, False] and row["best"] is None
    assert "1 of 3 responses have more than 256 tokens (response 1: " in row["reason"]
    assert row["tokens"][1] > 256 and row["score:privacy"][1] is None
    responses = sum(len(row["responses"]) for row in ROWS)
    assert counts == {
        **{"rows": 40, "responses": responses, "too_long": 1, "rows_with_reason": 1},
        **{"judged": 1, "accuracy": counts["accuracy"], "ties": 0},
    }


def test_the_passport_travels_with_the_scores(files, model, whole):
    stored = metadata(files / "whole.parquet")
    assert stored["passport"] == model.passport.to_dict()
    assert {"heads_sha256", "input_sha256", "versions"} <= stored.keys()


def test_a_killed_run_continues_and_gives_the_same_file(files, model, whole, monkeypatch):
    monkeypatch.setattr(score, "CHUNK", 8)
    output, runs, run = files / "killed.parquet", [], Scorer.run

    def killed_at_the_third(self, batches, count):
        runs.append(count)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return run(self, batches, count)

    monkeypatch.setattr(Scorer, "run", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        score.score_file(model, files / "rows.jsonl", output, tokens_per_batch=512)
    assert not output.exists() and len(list(files.glob("killed.parquet.parts/0*.parquet"))) == 2
    score.score_file(model, files / "rows.jsonl", output, tokens_per_batch=512)
    assert len(runs) == 3 + 3
    assert not (files / "killed.parquet.parts").exists()
    got, expected = pq.read_table(output).to_pylist(), whole[1].to_pylist()
    assert [row["tokens"] for row in got] == [row["tokens"] for row in expected]
    for one, other in zip(got, expected, strict=True):
        for a, b in zip(one["rewards"], other["rewards"], strict=True):
            assert (a is None) == (b is None) and (a is None or abs(a - b) < 2e-5)
    again = score.score_file(model, files / "rows.jsonl", output, tokens_per_batch=512)
    assert len(runs) == 6 and again == whole[0]  # nothing to do


def test_parts_of_another_run_are_not_taken_over(files, model):
    output = files / "other.parquet"
    folder = files / "other.parquet.parts"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    with pytest.raises(InputError, match="holds parts of another run"):
        score.score_file(model, files / "rows.jsonl", output)


def run_command(*arguments):
    with flagsaver.flagsaver():
        score.main(["score", *arguments])


def test_another_backbone_than_the_passports_is_refused_with_the_difference_or_recorded(tmp_path, capsys):
    model = tiny_reward_model.write(tmp_path)
    right = json.loads((model / "passport.json").read_text())
    tiny_model.write(tmp_path / "backbone", seed=1)  # as if somebody had trained it further
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Hi", "response": "No."}))
    arguments = [f"--model={model}", f"--input={tmp_path / 'rows.jsonl'}", f"--output={tmp_path / 'out.parquet'}"]
    with pytest.raises(SystemExit) as stopped:
        run_command(*arguments)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert re.search(f"model_sha256: '{right['model_sha256']}' in the passport, '[0-9a-f]{{64}}' here", said)
    assert "--allow-mismatch" in said and not (tmp_path / "out.parquet").exists()
    run_command(*arguments, "--allow-mismatch")
    (mismatch,) = metadata(tmp_path / "out.parquet")["passport"]["mismatch"]
    assert mismatch in said
    assert json.loads(capsys.readouterr().out)["mismatch"] == [mismatch]


def test_outputs_that_would_destroy_something_are_refused(files, model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no Parquet file"):
        score.score_file(model, files / "rows.jsonl", tmp_path / "notes.txt")
    with pytest.raises(InputError, match="is the input"):
        score.score_file(model, files / "rows.jsonl", files / "rows.jsonl")


def test_a_folder_that_a_kill_left_without_its_note_is_taken_over(tmp_path):
    parts = Parts(tmp_path / "out.parquet", {"a": 1}, pa.schema([("id", pa.string())]))
    parts.folder.mkdir()
    parts.claim()
    assert json.loads((parts.folder / "run.json").read_text()) == {"a": 1}


def test_best_of_n(files, whole):
    target = files / "best.jsonl"
    score.write_best(files / "rows.jsonl", "auto", files / "whole.parquet", target)
    best = {row["id"]: row for row in map(json.loads, target.read_text().splitlines())}
    assert len(best) == 39 and "row 11" not in best
    for row, got in zip(ROWS, whole[1].to_pylist(), strict=True):
        if got["best"] is not None:
            assert best[row["id"]]["response"] == row["responses"][got["best"]]
            assert best[row["id"]]["reward"] == max(got["rewards"])


def test_comparisons_are_judged_by_their_preference(files, model):
    pairs = [
        Comparison((Message("user", f"Q {i}"),), ("Yes, like this.", "No."), preferred=i % 2, id=str(i))
        for i in range(6)
    ]
    write_comparisons(files / "pairs.jsonl", pairs)
    counts = score.score_file(model, files / "pairs.jsonl", files / "pairs.parquet")
    rewards = np.stack(model.rewards([pair.prompt for pair in pairs], [pair.responses for pair in pairs]))
    right = np.mean([r[p.preferred] > r[1 - p.preferred] for r, p in zip(rewards, pairs, strict=True)])
    assert counts["judged"] == 6 and counts["accuracy"] == right and counts["ties"] == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "Hi", "responses": []}, "is empty"),
        ({"prompt": [{"role": "assistant", "content": "Hi"}], "response": "Hi"}, "user's turn"),
        ({"prompt": "Hi", "response": 3}, "response"),
        ({"prompt": "Hi", "responses": ["a"], "preferred": 1}, "no index"),
        ({"prompt": "Hi", "responses": ["a", None]}, "expected text"),
    ],
)
def test_malformed_rows_are_refused_with_their_line(tmp_path, row, words):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Hi", "responses": ["fine"]}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=words) as error:
        list(read_items(path, "auto", SkipCounter()))
    assert "rows.jsonl:2" in error.value.where


def test_formats_of_preference_sets_are_recognised(fixtures):
    items = list(read_items(fixtures / "pairs" / "texts.jsonl", "auto", SkipCounter()))
    assert items and all(len(item.responses) == 2 and item.preferred == 0 for item in items)


def test_rows_of_preference_sets_that_make_no_item_and_fields_that_nobody_reads_are_counted(tmp_path):
    row, skips = {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}, SkipCounter()
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in (row, row | {"rejected": " "}, row | {"zyx": 3})))
    assert len(list(read_items(path, "auto", skips))) == skips.kept == 2
    assert sum(skips.reasons.values()) == 1 and skips.first.popitem()[1].endswith("rows.jsonl:2")
    assert skips.unread == {"zyx": 1}


def test_intervals_are_written_when_asked_for(files, model, whole, tmp_path):
    calibrated = model.calibrated(rated())
    output = tmp_path / "bounded.parquet"
    counts = score.score_file(calibrated, files / "rows.jsonl", output, tokens_per_batch=512, intervals=True)
    table = pq.read_table(output)
    plain_counts, plain = whole
    assert counts == plain_counts and table.column("rewards") == plain.column("rewards")
    ends = {f"{end}{of}" for end in ("lower", "upper") for of in ("", *(f":{rule}" for rule in model.rules))}
    assert set(table.column_names) - set(plain.column_names) == ends
    for row in table.to_pylist():
        for value, low, high in zip(row["rewards"], row["lower"], row["upper"], strict=True):
            assert (value is None) == (low is None) == (high is None) and (value is None or low < value < high)
    [first] = calibrated.scores([ROWS[2]["prompt"]], [ROWS[2]["responses"]], intervals=True)
    for k, rule in enumerate(model.rules):
        assert table.column(f"upper:{rule}")[2].as_py() == pytest.approx(first.upper[:, k].tolist(), abs=3e-5)
    assert metadata(output)["intervals"] is True
    with pytest.raises(InputError, match="holds other scores: .*intervals"):
        score.score_file(calibrated, files / "rows.jsonl", output, tokens_per_batch=512)
    with pytest.raises(InputError, match="nobody has calibrated"):
        score.score_file(model, files / "rows.jsonl", tmp_path / "none.parquet", intervals=True)
    few = model.calibrated(list(rated())[:4])
    score.score_file(few, files / "rows.jsonl", tmp_path / "few.parquet", tokens_per_batch=512, intervals=True)
    assert set(pq.read_table(tmp_path / "few.parquet").column("lower")[2].as_py()) == {None}
