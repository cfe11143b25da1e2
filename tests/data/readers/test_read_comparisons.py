"""The single entry: formats recognised by columns, options passed on, nothing skipped unseen."""

import logging

import pytest

from encore_jax.data import FORMATS, SkipCounter, read_comparisons
from encore_jax.data.readers import recognise
from encore_jax.errors import InputError
from encore_jax.rules import RulePool

FILES = {
    "arena/votes.jsonl": "arena",
    "arena/votes_140k.jsonl": "arena",
    "helpsteer_pairs/helpsteer2.jsonl": "helpsteer_pairs",
    "helpsteer_pairs/helpsteer3.jsonl": "helpsteer_pairs",
    "hh_rlhf/full_hh.jsonl": "hh_rlhf",
    "pairs/ultrafeedback_binarized.jsonl": "pairs",
    "pairs/ultrafeedback_argilla.jsonl": "pairs",
    "pairs/skywork.jsonl": "pairs",
    "pku_saferlhf/30k.jsonl": "pku_saferlhf",
    "pku_saferlhf/single_dimension.jsonl": "pku_saferlhf",
    "rm_bench/chat_filtered.json": "rm_bench",
    "encore/comparisons.jsonl": "encore",
    "hh_rlhf/native.jsonl": "hh_rlhf",
    "hh_rlhf/derived.jsonl": "hh_rlhf",
    "pairs/texts.jsonl": "pairs",
    "pairs/conversations.jsonl": "pairs",
    "pku_saferlhf/rows.jsonl": "pku_saferlhf",
    "rewardbench/filtered.json": "rewardbench",
    "rewardbench2/rows.jsonl": "rewardbench2",
    "rm_bench/total_dataset.json": "rm_bench",
}


@pytest.mark.parametrize(("name", "format"), FILES.items())
def test_every_fixture_is_recognised(fixtures, pool, name, format):
    options = {"pool": pool} if format == "encore" else {}
    assert recognise(fixtures / name) == format
    found, named = SkipCounter(), SkipCounter()
    automatic = list(read_comparisons(fixtures / name, skips=found, **options))
    assert automatic and automatic == list(read_comparisons(fixtures / name, format, skips=named, **options))
    assert len(automatic) == found.kept and str(found) == str(named)


def test_every_format_has_a_fixture():
    assert set(FILES.values()) == set(FORMATS)


def test_options_reach_the_reader(fixtures):
    path = fixtures / "pku_saferlhf" / "rows.jsonl"
    assert [c.preferred for c in read_comparisons(path, preference="better")] == [0, 0]
    with pytest.raises(TypeError, match="preference"):
        read_comparisons(fixtures / "pairs" / "texts.jsonl", preference="better")


def test_unknown_formats_and_columns_fail_at_once(fixtures, tmp_path):
    with pytest.raises(InputError, match="unknown format 'hh'.*arena, encore, helpsteer_pairs, hh_rlhf, pairs"):
        read_comparisons(fixtures / "hh_rlhf" / "native.jsonl", "hh")
    with pytest.raises(
        InputError, match="no comparisons but single rated responses, as helpsteer2.*--config=helpsteer2"
    ):
        read_comparisons(fixtures / "helpsteer2" / "train.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(InputError, match="no rows"):
        read_comparisons(empty)


def test_skipped_rows_are_logged_unless_counted_by_the_caller(fixtures, caplog):
    path = fixtures / "hh_rlhf" / "native.jsonl"
    with caplog.at_level(logging.WARNING):
        list(read_comparisons(path, skips=SkipCounter()))
        assert not caplog.records
        list(read_comparisons(fixtures / "hh_rlhf" / "derived.jsonl"))
        assert not caplog.records
        list(read_comparisons(path))
    assert "6 rows: 2 kept, 4 skipped" in caplog.text and str(path) in caplog.text


def test_an_inferred_scale_is_information_and_no_warning(caplog):
    row = {"prompt": "Hi", "responses": ["a", "b"], "preferred": 0, "ratings": {"kind": [5, 1]}}
    with caplog.at_level(logging.INFO):
        list(read_comparisons([row] * 2, pool=RulePool.from_sentences({"kind": "It is kind."})))
    (told,) = [record for record in caplog.records if "2 kept, 0 skipped" in record.getMessage()]
    assert told.levelname == "INFO" and "scale 1 to 5, inferred" in told.getMessage()


def test_a_file_without_a_usable_row_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Hi", "chosen": "a", "rejected": "a"}\n')
    with pytest.raises(InputError, match="not one usable row: 1 rows: 0 kept, 1 skipped"):
        list(read_comparisons(path))
