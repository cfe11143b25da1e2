"""Readers of human preference pairs: HH-RLHF, plain pairs, PKU-SafeRLHF."""

import re

import pytest

from encore_jax.data import Message, SkipCounter
from encore_jax.data.readers.hh_rlhf import parse_dialogue, read_hh_rlhf
from encore_jax.data.readers.pairs import read_pairs
from encore_jax.data.readers.pku_saferlhf import read_pku_saferlhf
from encore_jax.errors import InputError


def test_hh_native_dialogues(fixtures, as_format):
    source = fixtures / "hh_rlhf" / "native.jsonl"
    for path in (source, as_format(source, ".jsonl.gz")):
        skips = SkipCounter()
        basil, poem = read_hh_rlhf(path, skips=skips)
        assert basil.prompt == (
            Message("user", "How do I keep basil alive?"),
            Message("assistant", "Give it light. Do you water it?"),
            Message("user", "Every day."),
        )
        assert basil.responses == ("Try every second day.", "You cannot.") and basil.preferred == 0
        assert (basil.id, basil.source) == (f"{path.name}:1", "hh-rlhf")
        assert poem.responses[0] == "One line\n\nand another: Human: beings rhyme."
        assert skips.kept == 2
        assert skips.reasons == {
            "not sharing their context": 1,
            "with identical responses": 1,
            "with a blank response": 1,
            "not ending with an assistant turn": 1,
        }
        assert skips.first["not sharing their context"] == f"{path}:2"
        assert str(skips).startswith("6 rows: 2 kept, 4 skipped (1 ")


def test_the_common_prefix_is_found_by_turns_not_characters(tmp_path):
    """Two answers that begin alike share characters, but only whole turns are context."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        r'{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes, I can.", "rejected": "\n\nHuman: Hi\n\nAssistant: Yes, I may."}'
    )
    (pair,) = read_hh_rlhf(path, skips=SkipCounter())
    assert pair.responses == ("Yes, I can.", "Yes, I may.")
    assert pair.prompt == (Message("user", "Hi"),)


def test_hh_derived_rows(fixtures):
    skips = SkipCounter()
    basil, colour = read_hh_rlhf(fixtures / "hh_rlhf" / "derived.jsonl", skips=skips)
    assert [message.role for message in basil.prompt] == ["user", "assistant", "user"]
    assert colour.prompt == (Message("user", "Name a colour."),) and colour.responses == ("Blue.", "Loud.")
    assert str(skips) == "2 rows: 2 kept, 0 skipped"


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"rejected": ...}, "rejected", "missing field"),
        ({"chosen": ["a"]}, "chosen", "expected text, found list"),
        ({"chosen": "Hello there"}, "chosen", "not a dialogue"),
        ({"chosen": "Well: \n\nHuman: Hi\n\nAssistant: Hm"}, "chosen", "not a dialogue"),
        ({"prompt": "Hello there"}, "prompt", "not a dialogue"),
    ],
)
def test_hh_rows_that_are_no_dialogues(fixtures, edited, changes, field, problem):
    path = edited(fixtures / "hh_rlhf" / "native.jsonl", **changes)
    with pytest.raises(InputError, match=problem) as caught:
        list(read_hh_rlhf(path, skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, field '{field}'" and caught.value.fix


def test_dialogues_keep_consecutive_turns_of_one_speaker():
    turns = parse_dialogue("\n\nHuman: Hi\n\nHuman: Are you there?\n\nAssistant:")
    assert [(turn.role, turn.content) for turn in turns] == [
        ("user", "Hi"), ("user", "Are you there?"), ("assistant", ""),
    ]  # fmt: skip


def test_plain_text_pairs(fixtures):
    skips = SkipCounter()
    bird, tree = read_pairs(fixtures / "pairs" / "texts.jsonl", skips=skips)
    assert bird.responses == ("A wren.", "A trout.") and bird.preferred == 0 and bird.subset == "animals"
    assert tree.prompt[0] == Message("system", "Answer in one word.")
    assert skips.reasons == {"with identical responses": 1}


def test_conversation_pairs(fixtures, as_format):
    source = fixtures / "pairs" / "conversations.jsonl"
    for path in (source, as_format(source, ".parquet")):
        skips = SkipCounter()
        bird, *others = read_pairs(path, skips=skips)
        assert bird.prompt == (Message("user", "Name a bird."),) and bird.responses == ("A wren.", "A trout.")
        assert [tree.prompt for tree in others] == [(Message("user", "Name a tree."),)]
        assert skips.reasons == {"not sharing their context": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ...}, "prompt"),
        ({"prompt": [{"role": "user"}]}, "prompt[0]"),
        ({"rejected": None}, "rejected"),
        ({"chosen": [{"role": "bot", "content": "x"}]}, "chosen[0].role"),
    ],
)
def test_broken_pairs(fixtures, edited, changes, field):
    path = edited(fixtures / "pairs" / "texts.jsonl", **changes)
    with pytest.raises(InputError) as caught:
        list(read_pairs(path, skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, field '{field}'" and caught.value.fix


def test_a_prompt_must_end_with_the_user(fixtures, edited):
    path = edited(fixtures / "pairs" / "texts.jsonl", prompt=[{"role": "assistant", "content": "Hm?"}])
    skips = SkipCounter()
    assert len(list(read_pairs(path, skips=skips))) == 1
    assert skips.reasons["with a prompt that does not end with the user's turn"] == 1


@pytest.mark.parametrize(("preference", "chosen"), [("safer", [1, 0]), ("better", [0, 0])])
def test_pku_preferences(fixtures, as_format, preference, chosen):
    source = fixtures / "pku_saferlhf" / "rows.jsonl"
    for path in (source, as_format(source, ".parquet")):
        skips = SkipCounter()
        pairs = list(read_pku_saferlhf(path, skips=skips, preference=preference))
        assert [pair.preferred for pair in pairs] == chosen
        assert pairs[0].responses[1] == "Tell him a silly joke."
        assert pairs[0].extra == {
            "safer": 1,
            "better": 0,
            "safe": [False, True],
            "severity": [1, 0],
            "harm_categories": [["Psychological Harm"], []],
        }
        assert skips.reasons == {"with identical responses": 1}


def test_pku_earlier_releases_and_undecided_rows(fixtures, edited):
    earlier = {f"response_{i}_{name}": ... for i in (0, 1) for name in ("harm_category", "severity_level")}
    path = edited(fixtures / "pku_saferlhf" / "rows.jsonl", **earlier, safer_response_id=-1)
    skips = SkipCounter()
    (bike,) = read_pku_saferlhf(path, skips=skips)
    assert bike.extra["severity"] == [0, 0] and skips.reasons["with no preference"] == 1
    (tease, bike) = read_pku_saferlhf(path, skips=SkipCounter(), preference="better")
    assert tease.extra == {"safer": -1, "better": 0, "safe": [False, True]}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"safer_response_id": ..., "better_response_id": ...}, "{}:1, field 'safer_response_id'"),
        ({"safer_response_id": ...}, "{}:2, field 'safer_response_id'"),
        ({"safer_response_id": True}, "{}:1, field 'safer_response_id'"),
        ({"safer_response_id": 2}, "{}:1, field 'safer_response_id'"),
        ({"is_response_1_safe": "yes"}, "{}:1, field 'is_response_1_safe'"),
        ({"response_1_severity_level": ...}, "{}:1, field 'response_1_severity_level'"),
        ({"response_1_harm_category": []}, "{}:1, field 'response_1_harm_category'"),
    ],
)
def test_broken_pku_rows(fixtures, edited, changes, where):
    path = edited(fixtures / "pku_saferlhf" / "rows.jsonl", **changes)
    with pytest.raises(InputError, match=re.escape(where.format(path))) as caught:
        list(read_pku_saferlhf(path, skips=SkipCounter()))
    assert caught.value.fix


def test_pku_unknown_preference(fixtures):
    with pytest.raises(InputError, match="'safer' or 'better'"):
        list(read_pku_saferlhf(fixtures / "pku_saferlhf" / "rows.jsonl", skips=SkipCounter(), preference="best"))


def test_shared_pairs_are_all_read(shared_data):
    """Counts of the published copies: 1,782 HH-RLHF, 922 CoCoNot and 1,601 DiaSafety pairs."""
    counts = {"hh-rlhf/pairs.jsonl": 1782, "coconot/pairs.jsonl": 922, "diasafety/pairs_train.jsonl": 1601}
    for name, count in counts.items():
        skips = SkipCounter()
        read = read_hh_rlhf if name.startswith("hh") else read_pairs
        pairs = list(read(shared_data / name, skips=skips))
        assert str(skips) == f"{count:,} rows: {count:,} kept, 0 skipped"
        assert len(pairs) == count and all(pair.preferred == 0 for pair in pairs)
