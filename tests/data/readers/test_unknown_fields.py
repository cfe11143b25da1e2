"""Nothing that a model would be shown is dropped without a word: every loader, with fields it does not know."""

import csv
import io
import json
import zipfile

import pytest

from encore_jax.cli.score_rows import read_items
from encore_jax.data import (
    FORMATS,
    SkipCounter,
    iter_rated,
    read_attribute_columns,
    read_comparisons,
    read_openai_rbr,
    read_pyrit,
    read_ultrafeedback,
)
from encore_jax.data.rated_comparisons.pools import HELPSTEER2, ULTRAFEEDBACK
from encore_jax.errors import InputError
from encore_jax.rules import RulePool
from encore_jax.rules.rule import Rule
from tests.data.readers.test_read_comparisons import FILES

RBR = RulePool(tuple(Rule(name, f"About {name}.") for name in ("judgement", "apology", "fully_complies")))


def comparisons(format):
    def read(path, skips, pool):
        return read_comparisons(path, format, skips=skips, **({"pool": pool} if format == "encore" else {}))

    return read


LOADERS = {
    **{name: (name, comparisons(format)) for name, format in FILES.items()},
    "rated": ("encore/rated.jsonl", lambda path, skips, pool: iter_rated(path, pool=pool, skips=skips)),
    "helpsteer2": (
        "helpsteer2/train.jsonl",
        lambda path, skips, pool: read_attribute_columns(path, pool=HELPSTEER2, scale=(0, 4), skips=skips),
    ),
    "ultrafeedback": (
        "ultrafeedback/rows.jsonl",
        lambda path, skips, pool: read_ultrafeedback(path, pool=ULTRAFEEDBACK, skips=skips),
    ),
    "openai_rbr": ("openai_rbr/rows.jsonl", lambda path, skips, pool: read_openai_rbr(path, pool=RBR, skips=skips)),
    "scoring": ("encore/rated.jsonl", lambda path, skips, pool: read_items(path, "responses", skips)),
    "scoring several": ("encore/comparisons.jsonl", lambda path, skips, pool: read_items(path, "responses", skips)),
}
"""Every reader of rows, with a file of its own."""

SHOWN = {
    "system": "Zyx is what to say.", "systemPrompt": "Zyx is what to say.", "history": [["Zyx?", "Zyx!"]],
    "messages": [{"role": "user", "content": "Zyx?"}], "conversations": [{"from": "human", "value": "Zyx?"}],
    "tools": [{"name": "zyx"}], "functions": [{"name": "zyx"}], "tool_calls": "zyx()", "context": "Zyx is so.",
    "documents": ["Zyx is so."], "images": ["zyx.png"], "image_url": "http://zyx", "audio": {"path": "zyx.wav"},
    "video_path": "zyx.mp4", "input": "Zyx", "instruction": "Say zyx.", "question": "Zyx?", "preamble": "Zyx.",
    "reasoning_content": "Zyx because.", "chosen_thinking": "Zyx because.", "previous_turns": ["Zyx?"],
}  # fmt: skip
"""Fields of published data sets that a model is shown."""


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def written(tmp_path, name, rows):
    """The rows under the fixture's own name, which may tell something."""
    target = tmp_path / name.rpartition("/")[2]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    target.write_text(json.dumps(rows) if name.endswith(".json") else lines, encoding="utf-8")
    return target


def outcome(read, path, pool):
    """What is read, what the counter says, and the error if there is one."""
    skips = SkipCounter()
    try:
        return list(read(path, skips, pool)), skips, ""
    except InputError as error:
        return [], skips, str(error)


def test_every_format_is_among_the_loaders():
    assert {FILES[name] for name in FILES} == set(FORMATS) and set(FILES) <= set(LOADERS)


@pytest.mark.parametrize("loader", LOADERS)
def test_an_added_field_is_used_refused_or_counted_by_name(fixtures, pool, tmp_path, loader):
    """One field at a time, added to all rows: those that a model is shown are never lost, others are counted."""
    name, read = LOADERS[loader]
    rows = rows_of(fixtures / name)
    plain, before, _ = outcome(read, written(tmp_path, name, rows), pool)
    assert plain and not before.unread
    for field, value in SHOWN.items():
        if any(field in row for row in rows):
            continue
        path = written(tmp_path, name, [row | {field: value} for row in rows])
        records, skips, error = outcome(read, path, pool)
        if error:
            assert f"{field!r}" in error or field in error, (field, error)
            assert str(path) in error
            continue
        problems = " ".join(getattr(record, "problem", "") for record in records)
        used = all("yx" in str(record.prompt) for record in records if not getattr(record, "problem", ""))
        refused = sum(n for reason, n in skips.reasons.items() if field in reason)
        assert (records and used and not refused) or field in problems or refused, (field, records, skips.reasons)
        assert not skips.unread

    for field, value in (("zzz", 3), ("zzz_note", "said by somebody"), ("has_image", False), ("input_tokens", 12)):
        records, skips, error = outcome(read, written(tmp_path, name, [row | {field: value} for row in rows]), pool)
        if error:
            assert f"field '{field}': unknown field. Fix: put it under 'extra'" in error
        else:
            assert records == plain and set(skips.unread) == {field}
            assert f"fields not read: {field} ({skips.unread[field]})" in str(skips)

    nothing = {"system": "", "tools": [], "images": None, "history": [], "zzz": None, "__index_level_0__": 4}
    records, skips, error = outcome(read, written(tmp_path, name, [row | nothing for row in rows]), pool)
    assert not error and records == plain and not skips.unread


PARTS = {
    "reasoning_content": {"reasoning_content": "Zyx because."},
    "tool_calls": {"tool_calls": [{"type": "function", "function": {"name": "zyx"}}]},
    "thinking": {"thinking": "Zyx because."},
    "'name'": {"name": "Zyx"},
    "'image_url'": {"content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "zyx"}}]},
    "'tool_use'": {"content": [{"type": "tool_use", "name": "zyx"}]},
    "'citations'": {"content": [{"type": "text", "text": "Hi", "citations": ["zyx"]}]},
    "role 'tool'": {"role": "tool"},
    "role 'developer'": {"role": "developer"},
}
"""What a message may hold besides role and text, by the name that must be said."""

CHATS = {
    "pairs/conversations.jsonl": ("chosen", "rejected"),
    "arena/votes.jsonl": ("conversation_a", "conversation_b"),
    "helpsteer_pairs/helpsteer3.jsonl": ("context",),
    "encore/comparisons.jsonl": ("prompt",),
    "rated": ("prompt",),
    "scoring": ("prompt",),
    "openai_rbr": ("prompt",),
}
"""Loaders of conversations, and the fields that hold them."""


@pytest.mark.parametrize("said", PARTS)
@pytest.mark.parametrize("loader", CHATS)
def test_a_message_with_more_than_role_and_text_is_named(fixtures, pool, tmp_path, loader, said):
    """The first message of every conversation is changed in the same way, in both conversations of a pair."""
    name, read = LOADERS[loader]
    rows, changed = rows_of(fixtures / name), 0
    for row in rows:
        for field in CHATS[loader]:
            if isinstance(row[field], str):
                row[field] = [{"role": "user", "content": row[field]}]
            row[field][0] |= PARTS[said]
            changed += 1
    records, skips, error = outcome(read, written(tmp_path, name, rows), pool)
    counted = sum(n for reason, n in skips.reasons.items() if said in reason)
    if loader == "scoring":
        assert changed and not error and all(said in record.problem for record in records)
    else:
        assert records == [] and counted == len(rows), skips.reasons
        assert said in error or not error


@pytest.mark.parametrize("loader", CHATS)
def test_text_parts_are_joined_and_numbers_in_messages_counted(fixtures, pool, tmp_path, loader):
    name, read = LOADERS[loader]
    rows = rows_of(fixtures / name)
    plain, _, _ = outcome(read, written(tmp_path, name, rows), pool)
    for row in rows:
        for field in CHATS[loader]:
            turns = row[field] if isinstance(row[field], list) else [{"role": "user", "content": row[field]}]
            for turn in turns:
                text = turn["content"]
                parts = [{"type": "text", "text": text[:2]}, {"type": "text", "text": text[2:], "image": None}]
                turn |= {"content": parts, "weight": 1.0, "tool_calls": [], "message_id": "m1"}
            row[field] = turns
    records, skips, error = outcome(read, written(tmp_path, name, rows), pool)
    assert not error and records == plain
    assert set(skips.unread) == {"weight of a message", "message_id of a message"}


def test_the_completions_of_ultrafeedback_are_looked_at_too(fixtures, pool, tmp_path):
    name, read = LOADERS["ultrafeedback"]
    rows = rows_of(fixtures / name)
    rows[0]["completions"][0] |= {"tools": [{"name": "zyx"}]}
    rows[0]["completions"][1] |= {"zzz": 1}
    records, skips, error = outcome(read, written(tmp_path, name, rows), pool)
    assert not error and len(records) == 1 and skips.unread == {"zzz": 1}
    assert skips.reasons == {"with a field 'tools', which no model here is shown": 1}


@pytest.mark.parametrize("column", ["system_prompt", "image_path", "zzz"])
def test_columns_of_the_wheels_tables_are_looked_at_too(tmp_path, column):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["objective", "assistant_response", "human_score", "data_type", column])
    writer.writerow(["q", "a", "1", "text", "zyx"])
    writer.writerow(["q", "b", "0", "text", ""])
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as archive:
        archive.writestr("pyrit/datasets/scorer_evals/harm/privacy.csv", text.getvalue())
    skips = SkipCounter()
    records = list(read_pyrit(tmp_path / "p.whl", pool=RulePool.shipped("pyrit_10"), skips=skips))
    if column == "zzz":
        assert len(records) == 2 and skips.unread == {"zzz": 1}
    else:
        assert len(records) == 1
        assert skips.reasons == {f"with a field '{column}', which no model here is shown": 1}


def test_what_says_again_what_is_read_is_no_loss(tmp_path):
    """UltraFeedback's pairs repeat the chosen conversation, HH-RLHF's derived rows the chosen response."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
    other = [turns[0], {"role": "assistant", "content": "No."}]
    path = tmp_path / "a.jsonl"
    rows = [{"prompt": "Hi", "chosen": turns, "rejected": other, "messages": turns, "instruction": "Hi "}]
    rows += [{"prompt": "Hi", "chosen": turns, "rejected": other, "messages": [*turns, turns[0], other[1]]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    skips = SkipCounter()
    assert len(list(read_comparisons(path, skips=skips))) == 2 and not skips.unread
    rows[0]["messages"] = [{"role": "system", "content": "Be brief."}, *turns]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(list(read_comparisons(path, skips=skips))) == 1
    assert skips.reasons == {"with a field 'messages', which no model here is shown": 1}
