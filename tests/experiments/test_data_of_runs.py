"""Data of a run that cannot be used are refused by name; what can is read whatever its order and format."""

import json
import shutil

import pytest

from encore_jax.data import iter_comparisons
from encore_jax.errors import InputError
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run

JUDGES = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


def ingest_only(config, workdir):
    run_experiment(validated(config), workdir, until="rate")
    return json.loads((workdir / "ingest" / "counts.json").read_text())


def test_a_limit_takes_the_first_by_hash_whatever_the_order(files, tmp_path):
    shutil.copytree(files, tmp_path / "files")
    lines = (files / "pairs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "files" / "pairs.jsonl").write_text("".join(lines[::-1]))
    chosen = []
    for folder in (files, tmp_path / "files"):
        counts = ingest_only(tiny_run.config(folder, limit=10), tmp_path / f"run{len(chosen)}")
        assert counts["comparisons"] == 10
        read = iter_comparisons(tmp_path / f"run{len(chosen)}" / "ingest" / "comparisons.jsonl")
        chosen.append({(c.prompt, c.responses) for c in read})
    assert chosen[0] == chosen[1]


def test_comparisons_in_our_own_format_with_ratings_are_recognised(files, tmp_path):
    row = {"prompt": "Hi", "responses": ["a", "b"], "preferred": 1, "ratings": {"violence": [0.25, 0]}}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    config = tiny_run.config(files)
    config.data.path = str(tmp_path / "own.jsonl")
    assert ingest_only(config, tmp_path / "run")["comparisons"] == 1


@pytest.mark.parametrize("which", ["path", "ratings_path"])
def test_an_empty_file_is_refused_by_name(files, tmp_path, which):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    config = tiny_run.config(files)
    setattr(config.data, which, str(empty))
    with pytest.raises(InputError, match="empty.jsonl"):
        ingest_only(config, tmp_path / "run")


ODD = [{"prompt": "Hi", "responses": ["a", "b", "c"], "preferred": 0, "id": "three"},
       {"prompt": "Hi", "responses": ["a", "b"], "preferred": None, "id": "undecided"}]  # fmt: skip


def test_comparisons_that_are_no_labelled_pairs_are_passed_over_and_counted(files, tmp_path):
    """One row without a preference costs that row, and not the file; the reasons add up to what was read."""
    own = [{"prompt": f"{i}", "responses": ["a", "b"], "preferred": i % 2} for i in range(5)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [own[0], *ODD, *own[1:]]))
    config = tiny_run.config(files)
    config.data.path = str(tmp_path / "own.jsonl")
    counts = ingest_only(config, tmp_path / "run")
    skipped = {"with no preference": 1, "of more than two responses, which only benchmarks score": 1}
    assert counts["comparison_rows_skipped"] == skipped
    assert counts["comparison_rows_read"] == 7 == counts["comparisons"] + sum(skipped.values())


@pytest.mark.parametrize("row", ODD)
def test_a_file_without_any_labelled_pair_is_refused_with_the_reason(files, tmp_path, row):
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    config = tiny_run.config(files)
    config.data.path = str(tmp_path / "own.jsonl")
    reason = "with no preference" if row["preferred"] is None else "of more than two responses"
    with pytest.raises(InputError, match=f"own.jsonl: there is no usable comparison: 1 rows: 0 kept.*{reason}"):
        ingest_only(config, tmp_path / "run")


def test_simulated_judges_need_a_harm_rule(files, tmp_path):
    config = tiny_run.config(files, JUDGES)
    kind = tiny_run.POOL.subset(["kindness"])
    kind.to_yaml(tmp_path / "kind.yaml")
    rows = [json.loads(line) for line in (files / "rated.jsonl").read_text().splitlines()]
    rows = [row | {"ratings": {"kindness": row["ratings"]["kindness"]}} for row in rows]
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.data.pool, config.data.ratings_path = str(tmp_path / "kind.yaml"), str(tmp_path / "rated.jsonl")
    with pytest.raises(InputError, match="no harm severity.*judges.*set it to 0|judges: .*no harm severity"):
        ingest_only(config, tmp_path / "run")


def test_simulated_judges_need_a_rating_of_every_compared_response(files, tmp_path):
    config = tiny_run.config(files, JUDGES)
    row = {"prompt": "Who?", "chosen": "Nobody knows.", "rejected": "I do."}
    (tmp_path / "pairs.jsonl").write_text((files / "pairs.jsonl").read_text() + json.dumps(row) + "\n")
    config.data.path = str(tmp_path / "pairs.jsonl")
    with pytest.raises(InputError, match="'Nobody knows.' has none.*judges=0"):
        ingest_only(config, tmp_path / "run")


def test_a_rule_that_no_training_response_is_rated_on_is_refused_by_name(files, tmp_path):
    rows = [json.loads(line) for line in (files / "rated.jsonl").read_text().splitlines()]
    for row in rows:
        row["ratings"]["kindness"] = None
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.data.ratings_path = str(tmp_path / "rated.jsonl")
    with pytest.raises(
        InputError, match="rule 'kindness': 0 of 120 rated responses are left to train on: 120 are not rated on it"
    ):
        run_experiment(validated(config), tmp_path / "run", until="train")
