"""What comes before a response: prompt, system prompt, history and shared turns, however a row spreads them."""

import json

import pytest

from encore_jax.data import SkipCounter, read_comparisons
from encore_jax.data.readers.hh_rlhf import read_hh_rlhf
from encore_jax.errors import InputError

Q, A, LAST = ("user", "Q1"), ("assistant", "A1"), ("user", "Q2")
SYSTEM = ("system", "Be brief.")


def chat(*turns):
    return [{"role": role, "content": text} for role, text in turns]


def answers(*context):
    return {
        "chosen": chat(*context, ("assistant", "good")), "rejected": chat(*context, ("assistant", "bad")),
    }  # fmt: skip


TEXTS = {"chosen": "good", "rejected": "bad"}
CONTRADICTION = "with a prompt that contradicts its conversations"
TWO_SYSTEMS = "a row with two different system prompts"


def read(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    skips = SkipCounter()
    return list(read_comparisons(path, skips=skips)), skips


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (answers(Q), [Q]),
        (answers(Q, A, LAST), [Q, A, LAST]),
        ({"prompt": chat(Q)} | answers(A, LAST), [Q, A, LAST]),  # the prompt comes before
        ({"prompt": "Q1"} | answers(A, LAST), [Q, A, LAST]),
        ({"prompt": chat(SYSTEM)} | answers(Q), [SYSTEM, Q]),
        ({"prompt": chat(SYSTEM, Q, A)} | answers(LAST), [SYSTEM, Q, A, LAST]),
        ({"prompt": chat(SYSTEM, Q)} | answers(), [SYSTEM, Q]),
        ({"prompt": chat(Q, A)} | answers(LAST), [Q, A, LAST]),
        ({"prompt": "Q1"} | answers(Q), [Q]),  # the conversations hold the prompt already
        ({"prompt": "Q1 "} | answers(Q, A, LAST), [Q, A, LAST]),
        ({"prompt": "Q2"} | answers(Q, A, LAST), [Q, A, LAST]),
        ({"prompt": "Q1"} | answers(SYSTEM, Q), [SYSTEM, Q]),
        ({"prompt": chat(SYSTEM, Q)} | answers(SYSTEM, Q), [SYSTEM, Q]),
        ({"prompt": chat(Q, A, LAST)} | answers(Q, A, LAST), [Q, A, LAST]),
        ({"prompt": chat(Q, A, LAST)} | answers(SYSTEM, Q, A, LAST), [SYSTEM, Q, A, LAST]),
        ({"prompt": ""} | answers(Q), [Q]),
        ({"prompt": None} | answers(Q), [Q]),
        ({"system": "Be brief."} | answers(Q), [SYSTEM, Q]),  # a system prompt goes first
        ({"system": "Be brief."} | answers(SYSTEM, Q), [SYSTEM, Q]),
        ({"system_prompt": "Be brief.", "prompt": "Q1"} | TEXTS, [SYSTEM, Q]),
        ({"system_message": "Be brief.", "prompt": chat(SYSTEM, Q)} | TEXTS, [SYSTEM, Q]),
        ({"system": " ", "prompt": "Q1"} | TEXTS, [Q]),
        ({"history": [["Q1", "A1"]], "prompt": "Q2"} | TEXTS, [Q, A, LAST]),  # earlier turns go before the prompt
        ({"history": chat(Q, A), "prompt": "Q2"} | TEXTS, [Q, A, LAST]),
        ({"history": chat(SYSTEM, Q, A)} | answers(LAST), [SYSTEM, Q, A, LAST]),
        ({"system": "Be brief.", "history": [["Q1", "A1"]], "prompt": "Q2"} | TEXTS, [SYSTEM, Q, A, LAST]),
        ({"prompt": "Q1"} | {"chosen": chat(("assistant", "good"))[0], "rejected": chat(("assistant", "bad"))[0]}, [Q]),
    ],
)
def test_the_prompt_holds_everything_once_and_in_order(tmp_path, row, prompt):
    ((pair,), skips) = read(tmp_path, row)
    assert [(turn.role, turn.content) for turn in pair.prompt] == prompt
    assert pair.responses == ("good", "bad") and not skips.reasons and not skips.unread


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Other"} | answers(Q), CONTRADICTION),
        ({"prompt": chat(Q, A)} | answers(A, LAST), CONTRADICTION),
        ({"prompt": chat(SYSTEM, Q)} | answers(("system", "Be kind."), Q), CONTRADICTION),
        ({"system": "Be kind."} | answers(SYSTEM, Q), TWO_SYSTEMS),
        ({"system": "Be kind.", "system_prompt": "Be brief.", "prompt": "Q1"} | TEXTS, TWO_SYSTEMS),
        ({"system": ["Be kind."], "prompt": "Q1"} | TEXTS, "with a field 'system' that is no text"),
        ({"history": "Q1 A1", "prompt": "Q2"} | TEXTS, "with a field 'history' of unknown form"),
        ({"history": [["Q1"]], "prompt": "Q2"} | TEXTS, "with a field 'history' of unknown form"),
        ({"prompt": chat(Q, A)} | TEXTS, "with a prompt that does not end with the user's turn"),
        ({"prompt": chat(SYSTEM)} | answers(), "with a prompt that does not end with the user's turn"),
    ],
)
def test_what_cannot_be_joined_is_skipped_with_its_reason(tmp_path, row, reason):
    (pairs, skips) = read(tmp_path, {"prompt": "Q1"} | TEXTS, row)
    assert len(pairs) == 1 and skips.kept == 1
    assert list(skips.reasons) == [reason.removeprefix("a row ")] and list(skips.first.values()) == [
        f"{tmp_path}/rows.jsonl:2"
    ]


@pytest.mark.parametrize("break_", ["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"])
@pytest.mark.parametrize("ending", ["", "{0}Assistant:", "{0}Assistant: "])
def test_derived_hh_rows_with_any_line_ends_and_an_empty_last_turn(tmp_path, break_, ending):
    prompt = f"{break_}Human: Q1{break_}Assistant: A1{break_}Human: Q2" + ending.format(break_)
    path = tmp_path / "rows.jsonl"
    whole = {name: f"{prompt.removesuffix(ending.format(break_))}{break_}Assistant: {name}" for name in ("ok", "no")}
    rows = [{"prompt": prompt, "chosen": " ok", "rejected": " no"}, {"chosen": whole["ok"], "rejected": whole["no"]}]
    rows += [{"prompt": prompt, "chosen": whole["ok"], "rejected": whole["no"]}]  # the dialogue beside its beginning
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    skips = SkipCounter()
    pairs = list(read_hh_rlhf(path, skips=skips))
    assert len(pairs) == 3 and not skips.reasons
    for pair in pairs:
        assert [(turn.role, turn.content) for turn in pair.prompt] == [Q, A, LAST]
        assert pair.responses == ("ok", "no")


def test_hh_rows_with_a_system_prompt_and_with_a_prefilled_answer(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "\n\nHuman: Q1\n\nAssistant:", "chosen": " ok", "rejected": " no", "system": "Be brief."}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"prompt": row["prompt"] + " Well,"}) + "\n")
    skips = SkipCounter()
    (pair,) = read_hh_rlhf(path, skips=skips)
    assert [(turn.role, turn.content) for turn in pair.prompt] == [SYSTEM, Q]
    assert skips.reasons == {"with a prompt that does not end with the user's turn": 1}


def test_texts_without_a_prompt_are_an_error(tmp_path):
    with pytest.raises(InputError, match="texts without a prompt"):
        read(tmp_path, TEXTS | {"prompt": "Q"}, TEXTS)
