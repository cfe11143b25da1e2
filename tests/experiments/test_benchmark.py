"""A benchmark run in miniature: from a native file to scores, the leaderboard's files, and a peer's conventions."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from encore_jax.data import Comparison, Message, iter_comparisons, write_comparisons
from encore_jax.data.rated_comparisons import CONFIGS, prepare
from encore_jax.data.readers.rewardbench import SAFETY_COUNTS
from encore_jax.errors import InputError
from encore_jax.evaluation.benchmark import benchmark_scores
from encore_jax.evaluation.conventions import PEERS, Convention, lay
from encore_jax.evaluation.coverage import coverage
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.run import plan_of, run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.reward.passport import Passport, model_digest
from encore_jax.reward.reward_model import PASSPORT, RewardModel, save_heads
from encore_jax.rules import Rule, RulePool
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from tests.experiments import tiny_model
from tests.goldens import armorm
from tests.report.page_checks import check_page


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved reward model of three heads on a tiny random backbone."""
    folder = tmp_path_factory.mktemp("saved")
    backbone = tiny_model.write(folder / "backbone")
    rng = np.random.default_rng(0)
    passport = Passport(
        model="tiny", model_sha256=model_digest(backbone), template_sha256=template_digest(load_tokenizer(backbone)),
        bos="chat template", pooling="last", pad_id=257, dtype="float32", max_length=256, rules=("a", "b", "c"),
        pool_sha256="1" * 64, data_revision="2" * 64, weights=(0.5, 0.3, 0.2),
    )  # fmt: skip
    (folder / "model").mkdir()
    (folder / "model" / PASSPORT).write_text(json.dumps(passport.to_dict()))
    kernel = rng.normal(size=(16, 3)).astype(np.float32)
    save_heads(folder / "model", kernel, np.zeros(3, np.float32), passport, str(backbone), (256, 512))
    return folder / "model"


@pytest.fixture(scope="module")
def safety(tmp_path_factory):
    """A file in RewardBench's schema with two comparisons of each Safety subset."""
    rows = []
    for subset in SAFETY_COUNTS:
        for i in range(2):
            row = {"prompt": f"{subset} {i}?", "chosen": f"No, {subset}.", "rejected": "Yes " * (i * 120 + 1)}
            rows.append(row | {"chosen_model": "x", "rejected_model": "y", "subset": subset, "id": len(rows)})
    path = tmp_path_factory.mktemp("data") / "filtered.json"
    path.write_text(json.dumps(rows))
    return path


def run(saved, data, workdir, **options):
    config = BenchmarkConfig(model=str(saved), data=str(data), replicates=100, tokens_per_batch=512, **options)
    run_experiment(validated(config), workdir)
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(saved, safety, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    options = {"peer": "armorm", "reported_safety": 50.0, "official_name": "me/tiny"}
    return workdir, run(saved, safety, workdir, **options)


def test_the_scores_are_those_of_the_model(finished, saved, safety):
    workdir, results = finished
    rows = {row["id"]: row for row in json.loads(safety.read_text())}
    scored = json.loads((workdir / "official" / "eval-set-scores" / "me" / "tiny.json").read_text())
    kept = [rows[number] for number in scored["id"]]
    assert len(rows) - len(kept) == results["counts"]["comparisons_dropped_too_long"] > 0
    model = RewardModel.from_pretrained(saved)
    rewards = model.rewards([r["prompt"] for r in kept], [[r["chosen"], r["rejected"]] for r in kept])
    np.testing.assert_allclose(rewards, np.transpose([scored["scores_chosen"], scored["scores_rejected"]]), rtol=1e-4)
    for name, entry in results["subsets"].items():
        right = [
            chosen > rejected for row, (chosen, rejected) in zip(kept, rewards, strict=True) if row["subset"] == name
        ]
        assert (entry["n"], entry["correct"], entry["score"]) == (len(right), sum(right), np.mean(right))
    assert results["benchmark"] == "rewardbench" and results["passport"]["weights"] == [0.5, 0.3, 0.2]
    assert "Safety" in results["scores"] and "Score" not in results["scores"]


def test_every_weighting_stands_beside_the_models_own(finished):
    workdir, results = finished
    rows = {row["name"]: row for row in results["methods"]}
    assert list(rows)[:3] == ["the model", "ENCORE", "uniform"] and rows["ENCORE"]["refused"]
    assert {"agreement", "agreement × entropy", "critical rules, r = 1"} <= set(rows)
    subsets = results["subsets"].values()
    right = sum(entry["correct"] + entry["ties"] / 2 for entry in subsets)
    assert rows["the model"]["accuracy"]["value"] == pytest.approx(right / results["n"])
    page = (workdir / "report.html").read_text()
    check_page(page)
    assert "Ways of weighting the rules" in page and "critical rules, r = 1" in page


def test_what_is_missing_and_dropped_is_told(finished):
    workdir, results = finished
    n = results["subsets"]["donotanswer"]["n"]
    assert f"donotanswer: {n} comparisons instead of 136" in results["incomplete"]
    assert results["counts"]["sha256"] and results["counts"]["rows"].startswith("10 rows")
    assert "Not the whole benchmark" in (workdir / "report.html").read_text()
    assert results["reported"].startswith("50.00 is")


def test_the_leaderboards_files(finished):
    workdir, results = finished
    per_subset = json.loads((workdir / "official" / "eval-set" / "me" / "tiny.json").read_text())
    assert per_subset["model"] == "me/tiny" and per_subset["model_type"] == "Seq. Classifier"
    assert {name: per_subset[name] for name in results["subsets"]} == {
        name: entry["score"] for name, entry in results["subsets"].items()
    }
    rows = json.loads((workdir / "official" / "eval-set-scores" / "me" / "tiny.json").read_text())
    for chosen, rejected, one in zip(rows["scores_chosen"], rows["scores_rejected"], rows["results"], strict=True):
        assert one == (chosen > rejected)
    assert rows["text_chosen"][0][-1] == {"role": "assistant", "content": "No, refusals-dangerous."}


def test_a_peers_conventions_are_explained_item_by_item(finished):
    _, results = finished
    peer = results["peer"]
    assert peer["name"] == "armorm" and peer["scores"].keys() == results["scores"].keys()
    for one in peer["differences"]:
        assert one["because"] and one["credit"][0] != one["credit"][1]
    dropped = results["counts"]["comparisons_dropped_too_long"]
    assert len([one for one in peer["differences"] if one["ours"] is None]) == dropped


def test_a_second_run_skips_and_damage_is_mended(finished, saved, safety, tmp_path):
    workdir, results = finished
    shutil.copytree(workdir, tmp_path / "copy")
    (tmp_path / "copy" / "score" / "scores-ours.npz").write_bytes(b"junk")
    options = {"peer": "armorm", "reported_safety": 50.0, "official_name": "me/tiny"}
    assert run(saved, safety, tmp_path / "copy", **options) == results
    stages = plan_of(BenchmarkConfig(model=str(saved), data=str(safety)), workdir).stages
    assert set(stages) == {p.name for p in workdir.iterdir() if p.is_dir()} - {"official"}


@pytest.mark.parametrize(
    ("fixture", "kind"), [("rewardbench2/rows.jsonl", "rewardbench2"), ("rm_bench/total_dataset.json", "rm_bench")]
)
def test_other_benchmarks_are_recognised(saved, fixtures, tmp_path, fixture, kind):
    data = tmp_path / fixture.rpartition("/")[2]
    data.write_text((fixtures / fixture).read_text().replace('"id": "8"', '"id": "tied:8"'))
    results = run(saved, data, tmp_path / "run", peer="hf")
    assert results["benchmark"] == kind and results["subsets"] and results["n"] > 0
    assert all(0 <= entry["score"] <= 1.01 for entry in results["subsets"].values())
    assert "Score" not in results["scores"]
    for entry in (*results["subsets"].values(), *results["scores"].values()):
        assert entry["low"] <= entry["score"] <= entry["high"]
    if kind == "rm_bench":
        cells = [np.array(side) for side in next(iter(results["scores"].values()))["intervals"]["matrix"].values()]
        assert cells[0].shape == (3, 3) and (cells[0] <= cells[1]).all()
    assert kind in (tmp_path / "run" / "report.html").read_text()


def test_any_labelled_comparisons_are_scored_as_pairs(saved, tmp_path):
    rows = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = run(saved, tmp_path / "pairs.jsonl", tmp_path / "run")
    assert results["scores"]["all"]["score"] == pytest.approx(results["subsets"][""]["correct"] / 6)


def test_a_prepared_data_set_scores_as_the_file_it_was_made_of(saved, tmp_path):
    rows = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": "no " * (i + 1)} for i in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = dataclasses.replace(CONFIGS["files"], path=str(tmp_path / "pairs.jsonl"), test_fraction=0.4)
    folder = prepare(settings, tmp_path / "tfds").data_dir
    results, of_file = (
        run(saved, data, tmp_path / name) for data, name in ((folder, "a"), (tmp_path / "pairs.jsonl", "b"))
    )
    assert results["scores"] == of_file["scores"] and results["n"] == 8
    assert results["counts"]["format"] == "prepared" and len(results["counts"]["sha256"]) == 64
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no prepared data set"):
        run(saved, tmp_path / "empty", tmp_path / "c")


def test_a_checkpoint_with_a_reward_head_is_scored_as_it_is(safety, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tiny_model.write(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"no tensor 'score\.weight'"):
        run(folder, safety, tmp_path / "none", buckets=(512,))
    tensors = load_file(folder / "model.safetensors")
    head = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    save_file(tensors | {"score.weight": head}, folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text()) | {"pad_token_id": 257}  # transformers pools by it
    (folder / "config.json").write_text(json.dumps(settings))
    results = run(folder, safety, tmp_path / "run", buckets=(512,))
    assert results["passport"]["pooling"] == "hf" and results["passport"]["rules"] == ["reward"]
    assert results["passport"]["weights"] == [1.0] and results["n"] > 0


def test_armorm_is_scored_with_the_weights_of_each_prompt(tmp_path):
    pairs = [{"prompt": f"{i} + 2 = ?", "chosen": f"It is {i + 2}.", "rejected": "No " * (i + 1)} for i in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    folder = armorm.save(tmp_path / "rm")
    run(folder, tmp_path / "pairs.jsonl", tmp_path / "run", buckets=(128,), peer="hf")
    rewards = RewardModel.from_pretrained(folder).rewards(
        [row["prompt"] for row in pairs], [[row["chosen"], row["rejected"]] for row in pairs]
    )
    for way in ("ours", "peer"):
        with np.load(tmp_path / "run" / "score" / f"scores-{way}.npz") as stored:
            np.testing.assert_allclose(stored["rewards"], np.concatenate(rewards), atol=1e-4)


def test_a_model_must_be_named():
    with pytest.raises(InputError, match="config.model: is empty"):
        validated(BenchmarkConfig(data="x.json"))
    with pytest.raises(InputError, match="use one of rewardbench"):
        benchmark_scores("mine", [], [])


# Conventions


class Doubling:
    """A tokenizer whose text form gains a BOS that the template has already: RewardBench's known trap."""

    bos_token_id, pad_token_id = 1, 9
    chat_template, special_tokens_map = "{% for m in messages %}{{ m.content }}{% endfor %}", {}

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [1, *self.ids] if add_special_tokens else [self.ids for _ in text]}


def notes(convention, ids, longest=100):
    from encore_jax.data import Message

    made = lay(Doubling(ids), convention, (Message("user", "Hi"),), "Hello", longest, 9)
    return made.tokens if made.tokens is None else made.tokens.tolist(), made.notes


def test_every_convention_says_what_it_does_to_the_tokens():
    assert notes(Convention("last"), [1, 5, 9]) == ([1, 5, 9], ())
    assert notes(Convention("hf"), [1, 5, 9]) == (
        [1, 5],
        ("pooled at token 2 of 3: the padding token occurs in the text",),
    )
    assert notes(Convention("first_pad"), [1, 9, 5])[0] == [1]
    assert notes(Convention("first_pad"), [1, 5, 6]) == ([1, 5, 6], ())
    tokens, said = notes(PEERS["rewardbench"], [1, 5, 6])
    assert tokens == [1, 1, 5, 6] and said == ("BOS stands twice",)
    assert notes(Convention("last", cut="left"), [1, 5, 6, 7], 3)[0] == [5, 6, 7]
    assert notes(Convention("last", cut="right"), [1, 5, 6, 7], 3)[0] == [1, 5, 6]
    assert notes(Convention("last"), [1, 5, 6, 7], 3) == (None, ("dropped as too long: 4 tokens, more than 3",))


def test_intervals_are_measured_on_the_ratings_of_the_comparisons(saved, tmp_path, capsys):
    """As in Python on the same records; a rule of which lower is better is turned round by the pool beside the file."""
    rng, rules = np.random.default_rng(0), ("a", "b", "c")
    pool = RulePool([Rule("a", "x"), Rule("b", "y", direction=-1), Rule("c", "z")])

    def records(start):
        return [
            Comparison((Message("user", f"Question {i}"),), (f"One {i}", f"Two {i}"), 0, rules, rng.random((2, 3)))
            for i in range(start, start + 30)
        ]  # fmt: skip

    model = RewardModel.from_pretrained(saved).calibrated(records(0))
    model.save(tmp_path / "model")
    pool.to_yaml(tmp_path / "pool.yaml")
    write_comparisons(tmp_path / "rated.jsonl", records(100), pool=pool)
    results = run(tmp_path / "model", tmp_path / "rated.jsonl", tmp_path / "run")
    held_out = list(iter_comparisons(tmp_path / "rated.jsonl", pool=pool))
    expected = coverage(model, held_out).to_json()
    assert [(r["what"], r["coverage"], r["ratings"]) for r in results["coverage"]["rows"]] == [
        (r["what"], r["coverage"], r["ratings"]) for r in expected["rows"]
    ]
    assert results["coverage"]["sentences"] == expected["sentences"]
    assert expected["sentences"][0] in capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text()
    check_page(page)
    assert "What the intervals hold" in page
    bare = run(saved, tmp_path / "rated.jsonl", tmp_path / "bare")
    assert bare["coverage"] is None and bare["scores"] == results["scores"]
