"""Chat data with ratings beside them: every published form of a conversation says what the plain table says."""

import json

import numpy as np
import pandas
import pytest

import encore_jax as enc
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

RULES = ("kind", "true", "safe")
RATINGS = np.random.default_rng(0).integers(1, 6, (40, 2, 3))
SIDES = ("chosen", "rejected")
CONTEXT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
]


def _prompt(i):
    return [*CONTEXT, {"role": "user", "content": f"question {i}"}]


def _answer(i, side):
    return {"role": "assistant", "content": f"{side} answer {i}"}


FORMS = {
    "plain": lambda i: {"prompt": _prompt(i)} | {side: _answer(i, side)["content"] for side in SIDES},
    "implicit prompt": lambda i: {side: [*_prompt(i), _answer(i, side)] for side in SIDES},
    "explicit prompt": lambda i: {"prompt": _prompt(i)} | {side: [_answer(i, side)] for side in SIDES},
    "one message": lambda i: {"prompt": _prompt(i)} | {side: _answer(i, side) for side in SIDES},
    "last question": lambda i: {"prompt": f"question {i}", "prompt_id": f"p{i}"} | FORMS["implicit prompt"](i),
    "UltraFeedback": lambda i: {"messages": [*_prompt(i), _answer(i, "chosen")]} | FORMS["last question"](i),
    "messages": lambda i: {"messages": [*_prompt(i), _answer(i, "chosen")]} | FORMS["implicit prompt"](i),
}


def _rows(form):
    return [
        FORMS[form](i) | {f"{r}_{s}": int(RATINGS[i, j, k]) for j, s in enumerate(SIDES) for k, r in enumerate(RULES)}
        for i in range(len(RATINGS))
    ]


def _as_text(value):
    return json.dumps(value) if isinstance(value, list | dict) else value


def _sources(rows, folder):
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    frame = pandas.DataFrame(rows)
    frame.to_parquet(folder / "t.parquet")
    frame.map(_as_text).to_csv(folder / "t.csv", index=False)
    return [rows, frame, folder / "t.jsonl", folder / "t.parquet", folder / "t.csv"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rated_conversations_says_the_same(tmp_path, form):
    for source in _sources(_rows(form), tmp_path):
        if form == "one message" and str(source).endswith(".csv"):
            continue  # an object in JSON may as well be the response
        found = enc.reliability(source, seed=0, draws=20)
        wanted = enc.reliability(_rows("plain"), seed=0, draws=20)
        assert [line.loading for line in found.rules] == [line.loading for line in wanted.rules]
        assert found.prompts == 40 and [line.labels for line in found.rules] == [40] * 3
        records = list(enc.read_comparisons(source, pool=list(RULES), scale=(1, 5)))
        np.testing.assert_allclose([record.ratings for record in records], RATINGS)
        for i, record in enumerate(records):
            assert [{"role": turn.role, "content": turn.content} for turn in record.prompt] == _prompt(i)
            assert record.responses == tuple(_answer(i, side)["content"] for side in SIDES)


BAD = {
    "not sharing their context": lambda row: row | {"rejected": [CONTEXT[1], _answer(0, "other")]},
    "not ending with an assistant turn": lambda row: row | {"chosen": row["chosen"][:-1]},
    "one response is text and another one messages": lambda row: row | {"rejected": "Hi."},
    "with a prompt that contradicts its conversations": lambda row: row | {"prompt": "Something else"},
    "with a message of role 'tool'": lambda row: (
        row | {"chosen": [*row["chosen"][:-1], {"role": "tool", "content": "4"}, row["chosen"][-1]]}
    ),
    "with a blank response": lambda row: row | {s: [*_prompt(7), {"role": "assistant", "content": " "}] for s in SIDES},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_conversation_that_makes_no_pair_is_left_out_and_counted(reason):
    rows = _rows("implicit prompt")
    rows[7] = BAD[reason](rows[7])
    skips = SkipCounter()
    records = list(enc.read_comparisons(rows, pool=list(RULES), scale=(1, 5), skips=skips))
    assert len(records) == 39 and reason in str(skips) and "first at row 8" in str(skips)
    assert enc.reliability(rows, draws=20).prompts == 39


def test_messages_as_python_prints_them_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    frame = pandas.DataFrame(_rows("implicit prompt"))
    frame.to_csv(path, index=False)  # as str() writes lists
    with pytest.raises(InputError, match="t.csv:2, column 'chosen': holds messages as Python prints them") as refused:
        enc.reliability(path)
    assert "json.dumps" in refused.value.fix


def test_a_message_that_is_none_is_told_with_its_row():
    rows = _rows("implicit prompt")
    rows[3]["chosen"][1] = {"role": "human", "content": "Hi"}
    with pytest.raises(InputError, match=r"row 4, chosen\[1\].role: unknown role 'human'"):
        enc.reliability(rows)


def test_a_pool_for_pairs_without_ratings_has_no_effect():
    rows = [{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."}]
    (record,) = enc.read_comparisons(rows, pool=["kind", "true"], scale=(1, 5))
    assert record.ratings is None
    with pytest.raises(TypeError, match="no reader of these files takes 'scales'"):
        enc.read_comparisons(rows, scales=(1, 5))
