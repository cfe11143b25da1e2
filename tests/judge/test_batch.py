"""Batch files: out in shards, back in any order and in parts, as often as one likes."""

import json
import random

import pytest

from encore_jax.errors import InputError
from encore_jax.judge.batch import ingest_results, request_id, write_requests
from encore_jax.judge.export import summary
from encore_jax.judge.journal import CONTRADICTS, Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import rating_questions
from encore_jax.judge.reading import mostly_other
from encore_jax.judge.replies import CALLED_TOOL, FILTERED
from encore_jax.judge.request import request_format
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool
from tests.judge.faulty_server import GOOD, chat

ASKING = request_format(YES_NO_IRRELEVANT, "m")


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
    assert told["words"]["HTTP 500"] == "internal" and told["words"]["batch error batch_expired"] == "too late"
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
        "unknown custom_id": 1,
        "answer about a conversation that is not asked about": 1,
        "answer of another judge, prompt or settings": 1,
        "line without custom_id": 2,
        "truncated last line": 1,
    }
    assert ingest(path) == (2, reasons)
    path.write_text("\n".join([lines[0], lines[2], lines[3]]))
    assert ingest(path) == (1, {"known already": 2}), "the rest has come, without a newline at its end"


def test_senseless_sizes_are_refused(tmp_path, questions):
    with pytest.raises(InputError, match="at least 1 of each"):
        write_requests(tmp_path, questions, ASKING, rows=0)


def test_a_reworded_rule_another_prompt_or_other_settings_take_no_old_answers(tmp_path, questions, pool, comparisons):
    rows = [result(request) for request in requests_in(write_requests(tmp_path, questions, ASKING))]
    answers = write(tmp_path / "results.jsonl", rows)
    reworded = RulePool([Rule("kind", "The response is truly kind."), *pool.rules[1:]])
    renamed = RulePool([Rule("kinder", "The response is kind."), *pool.rules[1:]])
    changed = [
        request_format(YES_NO_IRRELEVANT, "n"),
        request_format(YES_NO_IRRELEVANT, "m", extra={"seed": 1}),
        request_format(YES_NO_IRRELEVANT, "m", revision="2"),
        request_format(YES_NO_IRRELEVANT, "m", most_other=0.4),
        request_format(YES_NO_IRRELEVANT.in_user_turn(), "m"),
    ]
    asked = {question.key.conversation for question in questions}
    for i, (asking, rules) in enumerate([(ASKING, reworded), (ASKING, renamed), *((other, pool) for other in changed)]):
        with Journal(tmp_path / f"journal-{i}", asking.identity, rules) as other:
            skips = ingest_results([answers], asking, other, rules, asked)
            left = list(other.pending(rating_questions(comparisons, rules)))
        if asking is ASKING:
            assert skips.reasons == {"answer about a rule that is not asked about (another one, or reworded)": 40}
            assert skips.kept == 80 and {question.key.rule for question in left} == {rules.names[0]}
        else:
            assert skips.reasons == {"answer of another judge, prompt or settings": 120} and len(left) == 120


def test_what_was_cut_off_or_withheld_is_no_answer_in_a_batch_either(tmp_path, questions, journal, ingest):
    requests, rows = requests_in(write_requests(tmp_path, questions, ASKING)), []
    for reason in ("length", "stop", "content_filter", "tool_calls", "error"):
        body = chat(GOOD)
        body["choices"][0]["finish_reason"] = reason
        rows.append(result(requests[len(rows)], body=body))
    rows.append(result(requests[5], body=chat({"<think>": 0.999, "Yes": 1e-6}, "<think>")))
    assert ingest(write(tmp_path / "r.jsonl", rows)) == (6, {})
    told = summary(journal)
    assert told["questions"] == {"ok": 2, "unparsable": 4, "failed": 0}
    assert told["problems"] == {FILTERED: 1, CALLED_TOOL: 1, "ended for 'error'": 1, mostly_other(0.5): 1}


def test_duplicates_are_counted_and_the_first_answer_stays(tmp_path, questions, journal, ingest):
    requests = requests_in(write_requests(tmp_path, questions[:3], ASKING))
    other = chat({"Yes": 0.2, "No": 0.6})
    rows = [result(requests[0]), result(requests[0]), result(requests[0], body=other), result(requests[1], status=500)]
    rows += [result(requests[1], status=500), result(requests[1]), result(requests[1], status=500)]
    counts = {"known already": 3, CONTRADICTS: 1}
    assert ingest(write(tmp_path / "r.jsonl", rows)) == (3, counts)
    assert ingest(tmp_path / "r.jsonl") == (0, {"known already": 6, CONTRADICTS: 1})
    ratings = [rating for *_, rating in journal.rows([questions[0].key.conversation], "rating")]
    assert ratings == [pytest.approx(0.375)] * 2


SHAPES = [
    {"response": None},
    {"response": []},
    {"response": "200"},
    {"response": {}},
    {"response": {"status_code": 200}},
    {"response": {"status_code": 200, "body": None}},
    {"response": {"status_code": 200, "body": [1]}},
    {"response": {"status_code": "200", "body": {}}},
    {"response": {"status_code": True, "body": {}}},
    {"response": {"status_code": 10**30, "body": {}}},
    {"response": {"status_code": {"a": 1}}},
    {"error": {"code": {"deep": []}}},
    {"error": {"code": "x" * 9000}},
    {"error": {"code": "\x1b[31m"}},
    {"error": "text"},
    {"error": ["a"]},
    {"error": {"message": "m" * 9000}},
    {},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape)[:40])
def test_results_of_any_shape_are_failures_with_a_short_name(shape, tmp_path, questions, journal, ingest):
    (request,) = requests_in(write_requests(tmp_path, questions[:1], ASKING))
    assert ingest(write(tmp_path / "r.jsonl", [{"custom_id": request["custom_id"]} | shape])) == (1, {})
    told = summary(journal)
    (problem,) = told["problems"]
    assert problem == "batch error" and told["questions"]["failed"] == 1
    assert all(len(words) <= 300 for words in told["words"].values())


BROKEN = {
    b"": {},
    b"\n\r\n  \n": {},
    b"\xef\xbb\xbf\n": {},
    b"{}\n": {"line without custom_id": 1},
    b"[1]\n": {"line without custom_id": 1},
    b'"x"\n': {"line without custom_id": 1},
    b'{"custom_id": 3}\n': {"line without custom_id": 1},
    b'{"custom_id": "\\ud800"}\n': {"unknown custom_id": 1},
    b"[" * 5000 + b"\n": {"broken line": 1},
    b"9" * 5000 + b"\n": {"broken line": 1},
    b"\xff\xfe\x00\n": {"broken line": 1},
    '{"custom_id": "a"}\n'.encode("utf-16"): {"broken line": 1, "truncated last line": 1},
    b"x" * (5 << 20) + b"\n{}\n": {"line too long": 1, "line without custom_id": 1},
    b"x" * (9 << 20): {"line too long": 1},
    b'{"custom_id": "' + b"0" * 32 + b"-" + b"9" * 40 + b"-" + b"0" * 12 + b"-" + b"0" * 8 + b'"}': {
        "unknown custom_id": 1
    },
}


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: str(content[:30]))
def test_lines_of_any_kind_are_counted(content, tmp_path, ingest):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    assert ingest(path) == (0, BROKEN[content])


def test_the_first_line_may_have_a_byte_order_mark(tmp_path, questions, ingest):
    (request,) = requests_in(write_requests(tmp_path, questions[:1], ASKING))
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(result(request)).encode())
    assert ingest(path) == (1, {})


def test_half_a_surrogate_pair_and_numbers_beyond_64_bits_end_nothing(tmp_path, questions, journal, ingest):
    requests = requests_in(write_requests(tmp_path, questions[:3], ASKING))
    token = chat({"\ud800": 0.01, "Yes": 0.9}, "\udfff")
    big = {"choices": [], "error": {"message": "\ud800", "code": 10**400}}
    rows = [result(requests[0], body=token), result(requests[1], body=big), result(requests[2], status=10**40)]
    assert ingest(write(tmp_path / "r.jsonl", rows)) == (3, {})
    assert summary(journal)["questions"] == {"ok": 1, "unparsable": 0, "failed": 2}


def test_what_is_no_file_is_named(tmp_path, ingest):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match="folder.jsonl: cannot be read"):
        ingest(tmp_path / "folder.jsonl")
    with pytest.raises(InputError, match="missing.jsonl: is missing"):
        ingest(tmp_path / "missing.jsonl")
