"""Labels of tables with a response a row, and chat rows: read as meant, or refused by line and column."""

import csv
import json

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.errors import InputError

RULES = ("kind", "true", "brief")
_draw = np.random.default_rng(0).normal(size=(40, 2, 4))
RATINGS = np.clip(np.round(3 + _draw[..., :1] + 0.5 * _draw[..., 1:]), 1, 5).astype(int)


def _wide(folder, column="", labels=None):
    path = folder / "wide.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "response", *RULES, *([column] if column else [])])
        for (i, j), row in zip(np.ndindex(40, 2), RATINGS.reshape(80, 3).tolist(), strict=True):
            table.writerow([f"prompt {i}", f"answer {i} {j}", *row, *([labels[i][j]] if column else [])])
    return path


def _long(folder, labels):
    """The label stands only where the second rule is rated."""
    path = folder / "long.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "response", "rule", "rating", "quality"])
        for i, j, k in np.ndindex(40, 2, 3):
            table.writerow(
                [f"prompt {i}", f"answer {i} {j}", RULES[k], RATINGS[i, j, k], labels[i][j] if k == 1 else ""]
            )
    return path


BETTER = [i % 3 % 2 for i in range(40)]
FLAGS = [[int(j == better) for j in (0, 1)] for better in BETTER]


@pytest.mark.parametrize("column", ["preferred", "quality"])
def test_flags_and_qualities_are_the_labels_of_the_array(tmp_path, column):
    wanted = enc.reliability(RATINGS, BETTER, rules=RULES, seed=0)
    found = enc.reliability(_wide(tmp_path, column, FLAGS), seed=0)
    assert [rule.accuracy for rule in found.rules] == [rule.accuracy for rule in wanted.rules]


def test_words_are_flags(tmp_path):
    wanted = enc.reliability(RATINGS, BETTER, rules=RULES, seed=0)
    found = enc.reliability(
        _wide(tmp_path, "Preferred", [["yes" if x else "no" for x in own] for own in FLAGS]), seed=0
    )
    assert [rule.accuracy for rule in found.rules] == [rule.accuracy for rule in wanted.rules]


def test_a_label_counts_whichever_of_a_responses_rows_it_stands_in(tmp_path):
    wanted = enc.reliability(_wide(tmp_path, "quality", FLAGS), seed=0)
    found = enc.reliability(_long(tmp_path, FLAGS), seed=0)
    assert [rule.accuracy for rule in found.rules] == [rule.accuracy for rule in wanted.rules]
    assert found.rules[0].accuracy is not None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([["a", ""]] * 40, "'a' is no rating, and this table has a response a row"),
        ([["response_b", "response_b"]] * 40, "'response_b' is no rating, and this table has a response a row"),
        ([[0, ""]] * 40, "says 0 of this response, and nothing of another one of its prompt"),
        ([["", ""]] * 39 + [["", 1]], "says 1 of this response, and nothing of another one of its prompt"),
        ([[better, better] for better in BETTER], "says the same of all responses, of every prompt"),
        ([[2, 2]] * 40, "2 is neither 1 nor 0: it may be a rank"),
        ([[1, 2]] * 40, "2 is neither 1 nor 0: it may be a rank"),
    ],
)
def test_a_place_among_the_responses_is_never_taken_for_a_flag(tmp_path, labels, words):
    path = _wide(tmp_path, "preferred", labels)
    with pytest.raises(InputError) as refused:
        enc.reliability(path)
    assert words in str(refused.value) and "column 'preferred'" in str(refused.value) and "quality" in refused.value.fix


def test_of_no_response_column_repeated_prompts_are_spoken_of(tmp_path):
    ratings = [dict(zip(RULES, row, strict=True)) for row in RATINGS.reshape(80, 3).tolist()]
    rows = [{"prompt": f"prompt {i // 2}"} | own for i, own in enumerate(ratings)]
    (told,) = [line for line in enc.reliability(rows).columns if "two rows" in line]
    assert told.startswith("40 prompts stand in two rows or more, which are not compared: there is no column")
    assert not [line for line in enc.reliability(rows[::2]).columns if "two rows" in line]


UNKNOWN = [("User message", "Assistant answer"), ("Frage", "Antwort"), ("问题", "回答"), ("in, or so", "out")]


@pytest.mark.parametrize("names", UNKNOWN)
@pytest.mark.parametrize("form", ["csv", "list", "prompt known", "a response a prompt"])
def test_texts_under_names_that_nobody_knows_are_spoken_of(tmp_path, names, form):
    """Without a word, responses of one prompt would be read as ratings that have nothing to do with each other."""
    asked, said = ("prompt" if form == "prompt known" else names[0]), names[1]
    rows = []
    for i, row in enumerate(RATINGS.reshape(80, 3).tolist()):
        prompt = i if form == "a response a prompt" else i // 2
        texts = {said: f"answer {i} in words", asked: f"how is prompt {prompt} done?", "who": "ab"[i % 2]}
        rows.append(texts | dict(zip(RULES, row, strict=True)))
    table, header = rows, (asked, said, "who", *RULES)
    if form == "csv":
        table = tmp_path / "own.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([header, *([row[name] for name in header] for row in rows)])
    elif form == "a response a prompt":
        table = [{asked: row[asked]} | row for row in rows]  # as many prompts as responses: the first is the prompt
    lines = enc.reliability(table, seed=0).columns
    (told,) = [line for line in lines if "have them compared: rename" in line or "have these compared: rename" in line]
    assert (f"{asked!r} to 'prompt'" in told) == (asked != "prompt") and f"{said!r} to 'response'" in told
    assert ("sed -i.bak '1s/" in told) == (form == "csv" and "," not in asked)
    renamed = [{"prompt": row[asked], "response": row[said]} | {rule: row[rule] for rule in RULES} for row in rows]
    assert not [line for line in enc.reliability(renamed, seed=0).columns if "compared: rename" in line]


@pytest.mark.parametrize("texts", [{"remark": ""}, {"who": "anna"}, {"remark": "very good indeed", "id": "a-1"}])
def test_remarks_and_names_are_not_taken_for_texts(texts):
    rows = [dict(zip(RULES, row, strict=True)) for row in RATINGS.reshape(80, 3).tolist()]
    rows = [row | (texts if i % 2 else dict.fromkeys(texts, "")) for i, row in enumerate(rows)]
    assert not [line for line in enc.reliability(rows, seed=0).columns if "compared" in line]


def _chat(i, j):
    return [{"role": "user", "content": f"prompt {i}"}, {"role": "assistant", "content": f"answer {i} {j}"}]


@pytest.mark.parametrize("form", ["whole", "beside", "text"])
def test_messages_are_prompt_and_response(tmp_path, form):
    wanted = enc.reliability(_wide(tmp_path), seed=0)
    rows = []
    for i, j in np.ndindex(40, 2):
        chat = _chat(i, j)
        texts = {"messages": chat[:1], "response": chat[1]["content"]} if form == "beside" else {"messages": chat}
        texts = {"messages": json.dumps(chat)} if form == "text" else texts
        rows.append(texts | dict(zip(RULES, RATINGS[i, j].tolist(), strict=True)))
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for source in (path, rows):
        found = enc.reliability(source, seed=0)
        assert [rule.loading for rule in found.rules] == [rule.loading for rule in wanted.rules]
        assert found.prompts == wanted.prompts == 40


@pytest.mark.parametrize(
    "chat", [_chat(0, 0)[:1], _chat(0, 0)[1:], [*_chat(0, 0), {"role": "user", "content": "And?"}]]
)
def test_messages_without_an_answer_are_refused_by_line(tmp_path, chat):
    path = tmp_path / "chat.jsonl"
    rows = [{"messages": _chat(0, 0), "kind": 3}, {"messages": chat, "kind": 4}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="chat.jsonl:2, field 'messages'.*so there is no response"):
        enc.reliability(path)
