"""Ids and whole numbers as tables write them, in every format alike; variants of the published formats."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from encore_jax.data import FORMATS, SkipCounter, read_attribute_columns, read_comparisons
from encore_jax.data.rated_comparisons.pools import HELPSTEER2
from encore_jax.data.readers import recognise
from encore_jax.data.readers.recognition import SIGNATURES
from encore_jax.errors import InputError
from tests.data.readers.test_unknown_fields import LOADERS, outcome, rows_of, written

NAMES_OF_IDS = {"arena/votes.jsonl": "question_id"}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("loader", LOADERS)
def test_ids_may_be_numbers(fixtures, pool, tmp_path, loader, suffix):
    """An integer, and the float that pandas makes of it, give the same id as text; null and NaN give file and line."""
    name, read = LOADERS[loader]
    rows = rows_of(fixtures / name)
    if suffix == ".parquet" and any(isinstance(row.get("prompt"), str) for row in rows):
        rows = [row for row in rows if isinstance(row.get("prompt", ""), str)]  # a column has one type
    field = NAMES_OF_IDS.get(loader, "id")
    found = {}
    for kind, ids in {
        "text": [str(i) for i in range(len(rows))],
        "whole": list(range(len(rows))),
        "float": [float(i) for i in range(len(rows))],
        "missing": [None if suffix == ".jsonl" else float("nan")] * len(rows),
    }.items():
        changed = [row | {field: value} for row, value in zip(rows, ids, strict=True)]
        path = written(tmp_path, name, changed)
        if suffix == ".parquet":
            path = path.with_suffix(suffix)
            columns = {
                key: [row.get(key) for row in changed] for key in dict.fromkeys(k for row in changed for k in row)
            }
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
        records, skips, error = outcome(read, path, pool)
        assert records and not error and not skips.unread
        found[kind] = [record.id for record in records]
    assert found["text"] == found["whole"] == found["float"]
    assert all(path.name in name for name in found["missing"])
    with pytest.raises(InputError, match=f"field '{field}': expected text or a number, found list"):
        list(read(written(tmp_path, name, [row | {field: ["x"]} for row in rows]), SkipCounter(), pool))


@pytest.mark.parametrize("loader", LOADERS)
def test_ids_that_name_no_row_for_sure_are_refused(fixtures, pool, tmp_path, loader):
    """As JSON spells them: beyond any float, infinite, with a fraction, of more digits than a float has, no number."""
    name, read = LOADERS[loader]
    rows, field = rows_of(fixtures / name), NAMES_OF_IDS.get(loader, "id")
    refused = {"1e400": "inf, which names", "Infinity": "is not JSON", "-Infinity": "is not JSON", "NaN": "is not JSON",
               "1.5": "1.5, which names", "1e17": "1e+17, which names", "true": "found bool", "{}": "found dict",
               "9" * 5000: "JSON"}  # fmt: skip
    for spelled, problem in refused.items():
        path = written(tmp_path, name, [row | {field: "@"} for row in rows])
        path.write_text(path.read_text().replace('"@"', spelled))
        with pytest.raises(InputError) as caught:
            list(read(path, SkipCounter(), pool))
        assert problem in str(caught.value) and path.name in str(caught.value) and "\n" not in str(caught.value)
    path = written(tmp_path, name, [row | {field: "@"} for row in rows])
    path.write_text(path.read_text().replace('"@"', "9" * 30))
    assert [record.id for record in read(path, SkipCounter(), pool)][0].startswith("9" * 30)


@pytest.mark.parametrize(("value", "preferred"), [(0, 0), (1.0, 1), (None, None), (-0.0, 0)])
def test_preferred_as_pandas_writes_it(tmp_path, value, preferred):
    for name, row in (("a.jsonl", {}), ("b.parquet", {"__index_level_0__": 3})):
        row = {"prompt": "Q", "responses": ["a", "b"], "preferred": value} | row
        path = tmp_path / name
        if name.endswith("parquet"):
            value = float("nan") if value is None else float(value)
            columns = {key: [row[key]] for key in row} | {"preferred": pyarrow.array([value], from_pandas=False)}
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
        else:
            path.write_text(json.dumps(row))
        (pair,) = read_comparisons(path, skips=SkipCounter())
        assert pair.preferred == preferred


@pytest.mark.parametrize("value", [True, 0.5, 2, -1, "0", [0], float("inf"), 10**30])
def test_preferred_that_is_no_index_is_refused(tmp_path, value):
    path = tmp_path / "a.jsonl"
    row = {"prompt": "Q", "responses": ["a", "b"], "preferred": value}
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match="preferred|Infinity") as caught:
        list(read_comparisons(path, skips=SkipCounter()))
    assert caught.value.where.startswith(f"{path}:1") and len(str(caught.value)) < 400


def test_arena_votes(fixtures):
    skips = SkipCounter()
    (river,) = read_comparisons(fixtures / "arena" / "votes.jsonl", skips=skips)
    assert river.responses == ("A lake.", "The Elbe.") and river.preferred == 1 and river.id == "v1"
    assert skips.reasons == {"with no preference": 1, "not sharing their context": 1}
    skips = SkipCounter()
    (sea,) = read_comparisons(fixtures / "arena" / "votes_140k.jsonl", skips=skips)
    assert sea.prompt[0].content == "Name a sea." and sea.preferred == 0 and sea.id == "w1"
    assert skips.reasons == {
        "with no preference": 1,
        "with a field 'full_conversation', which no model here is shown": 1,  # an earlier turn
    }


def test_arena_conversations_as_json_text(fixtures, tmp_path):
    rows = rows_of(fixtures / "arena" / "votes.jsonl")[:1]
    for row in rows:
        row |= {name: json.dumps(row[name]) for name in ("conversation_a", "conversation_b")}
    path = written(tmp_path, "votes.jsonl", rows)
    (river,) = read_comparisons(path, skips=SkipCounter())
    assert river.responses == ("A lake.", "The Elbe.")
    with pytest.raises(InputError, match="'conversation_a': is not valid JSON"):
        list(read_comparisons(written(tmp_path, "votes.jsonl", [rows[0] | {"conversation_a": "{"}])))


def test_helpsteer_preferences(fixtures):
    skips = SkipCounter()
    tool, nail = read_comparisons(fixtures / "helpsteer_pairs" / "helpsteer2.jsonl", skips=skips)
    assert [turn.role for turn in tool.prompt] == ["user", "assistant", "user"]
    assert (tool.preferred, nail.preferred) == (0, 1) and tool.extra == {"strength": -2}
    assert skips.reasons == {"with no preference": 1}
    knot, code = read_comparisons(fixtures / "helpsteer_pairs" / "helpsteer3.jsonl", skips=SkipCounter())
    assert (knot.preferred, knot.subset, code.preferred, code.subset) == (1, "general", 0, "code")
    assert [turn.role for turn in code.prompt] == ["user", "assistant", "user"]


def test_several_annotators_of_helpsteer2_count_alike(fixtures):
    path = fixtures / "helpsteer2" / "disagreements.jsonl"
    spice, herb = read_attribute_columns(path, pool=HELPSTEER2, scale=(0, 4), skips=SkipCounter())
    np.testing.assert_allclose(spice.ratings, np.float32([11 / 3, 4, 4, 1 / 3, 1 / 3]))
    assert herb.mask.tolist() == [True, False, True, True, True] and herb.ratings[0] == 1


def test_pku_variants(fixtures):
    skips = SkipCounter()
    fold, fix = read_comparisons(fixtures / "pku_saferlhf" / "single_dimension.jsonl", skips=skips)
    assert (fold.preferred, fix.preferred) == (0, 1) and fold.extra == {"better": 0}
    assert "preferred is the better response" in str(skips)
    (early,) = read_comparisons(fixtures / "pku_saferlhf" / "30k.jsonl", skips=SkipCounter())
    assert early.preferred == 0 and early.extra == {"safer": 0, "better": 1, "safe": [True, False]}


@pytest.mark.parametrize(
    ("name", "changes", "subset"),
    [
        ("chat_filtered.json", {}, "chat"),
        ("safety-refuse_filtered.json", {}, "safety-refuse"),
        ("rows.json", {"domain": "Code"}, "code"),
        ("rows.json", {"subset": "safety-response"}, "safety-response"),
        ("math_filtered.json", {"domain": "chat"}, "chat"),
    ],
)
def test_rm_bench_domains(fixtures, tmp_path, name, changes, subset):
    rows = [row | changes for row in rows_of(fixtures / "rm_bench" / "chat_filtered.json")]
    path = written(tmp_path, name, rows)
    bees, ants = read_comparisons(path, skips=SkipCounter())
    assert (bees.subset, bees.id, ants.id) == (subset, "8", "9")
    assert bees.extra["subset"] == rows[0]["subset"] and bees.extra["num_correct"] == 3


def test_a_domain_that_no_score_is_of_is_refused(fixtures, tmp_path):
    rows = rows_of(fixtures / "rm_bench" / "chat_filtered.json")
    for changes, said in ({}, "'alpacaeval' is no domain"), ({"domain": "poetry"}, "'poetry' is no domain"):
        path = written(tmp_path, "rows.json", [row | changes for row in rows])
        with pytest.raises(InputError, match=f"field 'domain': {said}.*chat_filtered.json"):
            list(read_comparisons(path, skips=SkipCounter()))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Q", "chosen": ["a"], "rejected": ["b", "c"]}, "pairs lacks 'chosen' is a list of 1 texts"),
        ({"prompt": "Q", "chosen": ["a"] * 3, "rejected": ["b"] * 3}, "rm_bench lacks 'domain' or 'subset'"),
        ({"prompt": "Q", "chosen": "a"}, "pairs lacks 'rejected'"),
        ({"prompt": "Q", "chosen": None, "rejected": "b"}, "pairs lacks 'chosen' is null, not text"),
        ({"prompt": "Q", "response_0": "a", "response_1": "b"}, "pku_saferlhf lacks 'safer_response_id' or"),
        ({"context": "Q", "response1": "a", "response2": "b"}, "helpsteer_pairs lacks 'overall_preference'"),
        ({"prompt": "Q", "responses": "ab"}, "encore lacks 'responses' is text, not a list"),
        ({"instruction": "Q", "chosen": "a", "rejected": "b"}, "pairs lacks 'prompt'"),
        ({"conversation_a": [], "conversation_b": []}, "arena lacks 'winner'"),
        ({"text": "a", "label": 1}, "no format has these columns: text, label. Fix: rename"),
        ({"instruction": "Q", "completions": []}, "single rated responses, as ultrafeedback.*--config=ultrafeedback"),
        ({"prompt": "Q", "response": "a", "ratings": {}}, "as encore has them.*ratings_path"),
        ({"prompt": "Q", "response": "a", "is_safe": True}, "single rated responses, as helpsteer2"),
    ],
)
def test_what_is_no_format_is_compared_with_those_that_nearly_match(tmp_path, row, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(InputError, match=said) as caught:
        recognise(path)
    assert caught.value.fix


def test_a_later_row_may_tell_the_format(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "Q", "chosen": None, "rejected": "b"}, {"prompt": "Q", "chosen": "a", "rejected": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert recognise(path) == "pairs"
    assert {format for format, _ in SIGNATURES} == set(FORMATS)
