"""Batch files: out in shards, back in any order and in parts, as often as one likes."""

import json
import random

import pytest

from encore_jax.errors import InputError
from encore_jax.judge.asking import ask_with
from encore_jax.judge.batch import ingest_results, request_id, write_requests
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_summary import summary
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import rating_questions
from encore_jax.judge.retry_policy import RetryPolicy
from tests.judge.faulty_server import GOOD, chat

ASKING = ask_with(YES_NO_IRRELEVANT, "m")


@pytest.fixture
def questions(comparisons, pool):
    return list(rating_questions(comparisons, pool))


@pytest.fixture
def journal(tmp_path, pool):
    with Journal(tmp_path / "journal", ASKING.identity, pool) as journal:
        yield journal


@pytest.fixture
def ingest(journal, pool, questions):
    """Ingests files and returns (how many lines became answers, why the others did not)."""
    conversations = {question.key.conversation for question in questions}

    def run(*paths):
        skips = ingest_results(paths, ASKING, journal, pool, conversations)
        return skips.kept, skips.reasons

    return run


def result(request, status=200, body=None, error=None, number=0):
    response = {"status_code": status, "request_id": f"r{number}", "body": chat(GOOD) if body is None else body}
    return {"id": f"b{number}", "custom_id": request["custom_id"], "response": response, "error": error}


def requests_in(files):
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_requests_are_the_servers_own_in_whole_shards(tmp_path, questions):
    files = write_requests(tmp_path / "out", questions, ASKING, rows=50)
    assert [len(file.read_text().splitlines()) for file in files] == [50, 50, 20]
    made = requests_in(files)
    assert len({request["custom_id"] for request in made}) == 120
    for request, question in zip(made, questions, strict=True):
        assert request["method"] == "POST" and request["url"] == "/v1/chat/completions"
        assert request["body"] == ASKING.body(question) and len(request["custom_id"]) <= 64
    small = write_requests(tmp_path / "small", questions, ASKING, size=5000)
    assert all(file.stat().st_size <= 5000 for file in small) and requests_in(small) == made


def test_writing_again_gives_the_same_files_and_fewer_questions_fewer_files(tmp_path, questions):
    first = {f.name: f.read_bytes() for f in write_requests(tmp_path, questions, ASKING, rows=50)}
    assert {f.name: f.read_bytes() for f in write_requests(tmp_path, questions, ASKING, rows=50)} == first
    assert len(write_requests(tmp_path, questions[:60], ASKING, rows=50)) == 2
    assert len(list(tmp_path.glob("requests-*"))) == 2
    assert write_requests(tmp_path, [], ASKING) == [] and not list(tmp_path.glob("*"))


def test_results_in_any_order_in_parts_and_twice(tmp_path, questions, journal, ingest):
    rows = [result(r, number=i) for i, r in enumerate(requests_in(write_requests(tmp_path, questions, ASKING)))]
    random.Random(0).shuffle(rows)
    first, second = write(tmp_path / "z.jsonl", rows[:70]), write(tmp_path / "a.jsonl", rows[60:])
    assert ingest(first) == (70, {})
    assert ingest(second, first) == (50, {"known already": 80})
    assert ingest(second, first) == (0, {"known already": 130})
    assert summary(journal)["questions"] == {"ok": 120, "unparsable": 0, "failed": 0}
    assert summary(journal)["attempts"] == 120
    assert not list(journal.pending(questions))


def test_errors_are_counted_by_kind_and_asked_again(tmp_path, questions, journal, ingest):
    requests = requests_in(write_requests(tmp_path, questions[:5], ASKING))
    errors = write(
        tmp_path / "errors.jsonl",
        [
            result(requests[0], status=500, body={"error": "internal"}),
            result(requests[1], body=chat({})),
            {
                "id": "b2",
                "custom_id": requests[2]["custom_id"],
                "response": None,
                "error": {"code": "batch_expired", "message": "too late"},
            },
        ],
    )
    assert ingest(errors) == (3, {}) and ingest(errors, errors) == (0, {"known already": 6})
    told = summary(journal)
    assert told["problems"] == {"HTTP 500": 1, "batch error batch_expired": 1, "no log-probabilities": 1}
    assert len(list(journal.pending(questions[:5], RetryPolicy(unparsable=2)))) == 5
    assert ingest(write(tmp_path / "again.jsonl", [result(r, number=9) for r in requests])) == (5, {})
    assert ingest(errors) == (0, {"known already": 3})
    assert summary(journal)["questions"]["ok"] == 5


def test_truncated_broken_and_unknown_lines_are_counted(tmp_path, questions, ingest):
    requests = requests_in(write_requests(tmp_path, questions[:6], ASKING))
    lines = [json.dumps(result(request)) for request in requests]
    stranger = {"custom_id": "request-1", "response": None}
    elsewhere = {"custom_id": requests[1]["custom_id"].replace(questions[1].key.conversation, "0" * 32)}
    by_another = {"custom_id": request_id(questions[1].key, questions[1].rule, "f" * 64), "response": None}
    other_rows = [json.dumps(row) for row in (stranger, elsewhere, by_another, {"no": "id"}, [])]
    text = "\n".join([lines[0], '{"custom_id": ', *other_rows, "", lines[2], lines[3][:-20]])
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    reasons = {
        "broken line": 1,
        "unknown custom_id": 2,
        "answer of another judge": 1,
        "line without custom_id": 2,
        "truncated last line": 1,
    }
    assert ingest(path) == (2, reasons)
    path.write_text("\n".join([lines[0], lines[2], lines[3]]))
    assert ingest(path) == (1, {"known already": 2}), "the rest has come, without a newline at its end"


def test_senseless_sizes_are_refused(tmp_path, questions):
    with pytest.raises(InputError, match="at least 1 of each"):
        write_requests(tmp_path, questions, ASKING, rows=0)
