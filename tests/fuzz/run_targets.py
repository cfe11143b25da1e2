"""What runs and judges leave behind: journals, batch results, replies, manifests."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import tempfile
import types
from pathlib import Path

from tests.fuzz.mutate_bytes import as_json_lines, mutate_bytes, mutate_lines
from tests.fuzz.mutate_json import Raw, mutate_json, odd
from tests.fuzz.target import Target, each


def _pool():
    from encore_jax.rules import Rule, RulePool

    return RulePool([Rule("kind", "The response is kind."), Rule("rude", "It is rude.", -1)])


def _comparisons():
    from encore_jax.data import Comparison, Message

    return [Comparison((Message("user", f"Q{i}"),), (f"A{i}", f"B{i}"), i % 2, id=f"c{i}") for i in range(4)]


def _asking():
    from encore_jax.judge.prompts import YES_NO_IRRELEVANT
    from encore_jax.judge.request import request_format

    return request_format(YES_NO_IRRELEVANT, "m")


def _journal(folder: Path) -> None:
    from encore_jax.judge.journal import Journal
    from encore_jax.judge.question import Answer, Status, rating_questions

    answers = (
        Answer(Status.OK, rating=0.25, relevance=0.5, evidence={"logprobs": [["Yes", -0.5]]}, faults=("HTTP 429",)),
        Answer(Status.FAILED, problem="HTTP 500", evidence={"raw": "internal"}, faults=("HTTP 500",)),
    )
    with Journal(folder / "journal.sqlite", _asking().identity, _pool()) as journal:
        for i, question in enumerate(rating_questions(_comparisons(), _pool())):
            journal.record(question.key, answers[i % 3 == 2])
        journal.flush()
        journal.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for left in folder.glob("journal.sqlite-*"):
        left.unlink()


def mutate_sqlite(content: bytes, rng: random.Random) -> bytes:
    """A cell, the schema, or anything."""
    if rng.random() < 0.35:
        return mutate_bytes(content, rng, head=200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # what SQLite itself does not take
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                _change(connection, rng)
                connection.commit()
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def _change(connection: sqlite3.Connection, rng: random.Random) -> None:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    table = rng.choice(tables)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    column, kind = rng.choice(columns), rng.random()
    if kind < 0.6:
        value = odd(rng)
        value = str(value) if isinstance(value, Raw) else value
        value = json.dumps(value) if isinstance(value, list | dict) else value
        value = rng.choice((value, b"\xff\xfe", b"", "not json", '{"a": 1}', "[[1]]", "9" * 400, float("inf")))
        rows = "response < ?" if table == "rating" else "rowid % ? = 0"
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {rows}", (value, rng.choice((1, 2))))
    elif kind < 0.7:
        connection.execute(f"DELETE FROM {table}")
    elif kind < 0.8:
        connection.execute(f"DROP TABLE {table}")
    elif kind < 0.88:
        connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
    elif kind < 0.93:
        connection.execute(f"PRAGMA user_version = {rng.choice((0, 2, 99, -1, 2**31 - 1))}")
    elif kind < 0.97:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN more TEXT DEFAULT 'x'")
    else:
        connection.execute(f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")


def _load_journal(folder: Path):
    from encore_jax.judge.export import rated_comparisons, rated_responses, summary, summary_table
    from encore_jax.judge.journal import Journal
    from encore_jax.judge.question import rating_questions

    comparisons, pool = _comparisons(), _pool()
    with Journal(folder / "journal.sqlite", _asking().identity, pool) as journal:
        return each(
            lambda: list(journal.pending(rating_questions(comparisons, pool))),
            lambda: summary_table(summary(journal)),
            lambda: list(rated_comparisons(comparisons, journal, pool)),
            lambda: list(rated_responses(comparisons, journal, pool)),
        )


def _reply() -> dict:
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in (("Yes", -0.7), (" No", -1.4))]
    content = [{"token": "Yes", "logprob": -0.7, "top_logprobs": top}]
    message = {"role": "assistant", "content": "Yes", "reasoning_content": None}
    choice = {"index": 0, "message": message, "logprobs": {"content": content}, "finish_reason": "stop"}
    return {"id": "x", "choices": [choice], "usage": {"total_tokens": 5}}


def _batch(folder: Path) -> None:
    from encore_jax.judge.batch import write_requests
    from encore_jax.judge.question import rating_questions

    (file,) = write_requests(folder, rating_questions(_comparisons(), _pool()), _asking())
    rows = []
    for i, line in enumerate(file.read_text().splitlines()):
        response = {"status_code": 200 if i % 4 else 500, "request_id": f"r{i}", "body": _reply()}
        rows.append({"id": f"b{i}", "custom_id": json.loads(line)["custom_id"], "response": response, "error": None})
    (folder / "results.jsonl").write_bytes(as_json_lines(rows))


def _load_batch(folder: Path):
    from encore_jax.judge.batch import ingest_results
    from encore_jax.judge.export import summary
    from encore_jax.judge.journal import Journal
    from encore_jax.judge.question import rating_questions

    conversations = {question.key.conversation for question in rating_questions(_comparisons(), _pool())}
    with Journal(folder / "journal.sqlite", _asking().identity, _pool()) as journal:
        skips = ingest_results([folder / "results.jsonl"], _asking(), journal, _pool(), conversations)
        return skips.kept, summary(journal)


def _replies(folder: Path) -> None:
    (folder / "reply.json").write_text(json.dumps(_reply()))


def _call_replies(folder: Path) -> None:
    from tests.judge.call_reply import call_reply

    likely = {"A": {"Yes": 0.5, "No": 0.25}, "B": {"Ir": 0.75}}
    (folder / "reply.json").write_text(json.dumps(call_reply(likely)))
    (folder / "completion.json").write_text(json.dumps(call_reply(likely, "completions")))


def _load_reply(folder: Path):
    """As the client gives it to every reader: what is no JSON object never gets there."""
    from encore_jax.judge.prompts import PROMPTS
    from encore_jax.judge.request import request_format

    reply = _json_object(folder / "reply.json")
    return reply and [request_format(wording, "m").read(reply) for wording in PROMPTS.values()]


def _load_call_replies(folder: Path):
    """As replies to calls about two rules."""
    from encore_jax.judge.calls.prompts import call_prompt
    from encore_jax.judge.calls.request import call_request_format
    from encore_jax.judge.prompts import PROMPTS

    bodies = [_json_object(folder / name) for name in ("reply.json", "completion.json")]
    asking = [call_request_format(call_prompt(wording), "m") for wording in PROMPTS.values()]
    return [one.read_call(body, 2) for one in asking for body in bodies if body]


def _json_object(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size < 1 << 26 else None
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _manifest(folder: Path) -> None:
    _run_stage(folder, 1)


def _run_stage(folder: Path, a: int):
    from encore_jax.recipes.manifest import run_stage

    return run_stage(folder / "stage", {"a": a, "b": [1, 2]}, lambda at: (at / "out.txt").write_text("x"))


def _load_manifest(folder: Path):
    """As a run on the same inputs, and one on others."""
    return each(lambda: _run_stage(folder, 1), lambda: _run_stage(folder, 2))


def _rating_run(folder: Path) -> None:
    (folder / "rate").mkdir()
    (folder / "rate" / "manifest.json").write_text("{}")
    settings = {"source": "files", "path": "mine.csv"}
    (folder / "config.json").write_text(json.dumps({"name": "rate_server", "data": settings}))


def _label_place(folder: Path) -> object:
    from encore_jax.cli.reliability import _label_place as found
    from encore_jax.evaluation.label_next import where_to_label

    rows = types.SimpleNamespace(quality=None)
    return where_to_label(found(folder / "rate" / "comparisons.jsonl", rows))


RUN_TARGETS = {
    "a rating run's settings": Target(_rating_run, {"config.json": mutate_json}, _label_place),
    "journal": Target(_journal, {"journal.sqlite": mutate_sqlite}, _load_journal, 3),
    "batch results": Target(_batch, {"results.jsonl": mutate_lines}, _load_batch, 3),
    "reply": Target(_replies, {"reply.json": mutate_json}, _load_reply, 2),
    "call reply": Target(
        _call_replies, {"reply.json": mutate_json, "completion.json": mutate_json}, _load_call_replies, 2
    ),
    "manifest": Target(
        _manifest, {"stage/manifest.json": mutate_json, "stage/inputs.json": mutate_json}, _load_manifest
    ),
}
