"""Runs in which a call asks about several rules: faults, kills, batch files and journals, as of single questions."""

import json
import sqlite3

import numpy as np
import pytest
from aiohttp import web

import encore_jax as enc
from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.http.client import NOT_JSON
from encore_jax.http.contact import DROPPED, TIMED_OUT
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.batch import ingest_results, read_batch_results, write_batch_requests, write_requests
from encore_jax.judge.calls.prompts import YES_NO_CALL
from encore_jax.judge.calls.replies import NO_ENTRY, NO_OBJECT
from encore_jax.judge.calls.request import answer_limit, call_request_format
from encore_jax.judge.estimate import estimate, estimate_text
from encore_jax.judge.export import summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status, rating_questions
from encore_jax.judge.request import request_format, shared_texts
from encore_jax.judge.run import ask_all, hint
from encore_jax.judge.server import ServerJudge
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import RulePool
from tests.judge.call_reply import call_reply, letters_in
from tests.judge.faulty_server import FAULTS, FaultyServer, Running

ASKING = call_request_format(YES_NO_CALL, "m", rules_per_call=0)
LIKELY = {"A": {"Yes": 0.5, "No": 0.25}, "B": {"No": 0.5, "Yes": 0.125}, "C": {"Ir": 0.75}}
RATINGS = {"kind": 0.25, "rude": -0.375, "brief": 0.0}


class CallServer(FaultyServer):
    """Answers every rule of a call, or those alone that `leaves_out` does not name, in turn."""

    def __init__(self, *args, leaves_out=(), **options):
        super().__init__(*args, **options)
        self.leaves_out = list(leaves_out)

    async def answer(self, body):
        without = self.leaves_out.pop(0) if self.leaves_out else ""
        known = {name: LIKELY[name] for name in letters_in(body) if name not in without}
        return web.json_response(call_reply(known))


@pytest.fixture
def questions(comparisons, pool):
    return lambda: rating_questions(comparisons, pool, 0)


def ratings_in(path):
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT judge, hex(conversation), rule.name, status, rating, attempts FROM rating "
            "JOIN rule ON rule.id = rating.rule"
        )
        return list(rows)
    finally:
        connection.close()


def test_a_call_answers_every_rule_of_a_response(comparisons, pool, settings):
    server = CallServer()
    with Running(server) as url:
        answers = list(ServerJudge(ASKING, settings(url)).answers(rating_questions(comparisons, pool, 0)))
    assert len(answers) == 120 and sum(server.asked.values()) == len(server.asked) == 40
    assert {q.key for q, _ in answers} == {q.key for q in rating_questions(comparisons, pool)}
    for question, answer in answers:
        assert answer.status is Status.OK and answer.rating == pytest.approx(RATINGS[question.rule.name])


def test_every_fault_is_mended_and_counted_once_for_its_call(questions, pool, settings, tmp_path):
    server = CallServer(share=0.5, seed=1, slow=1.0)
    with Running(server) as url, Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        judge = ServerJudge(ASKING, settings(url, timeout=0.5))
        for _ in ask_all(judge, questions, journal, RetryPolicy(unparsable=9)):
            pass
        told = summary(journal)
    done = server.done
    assert told["questions"] == {"ok": 120, "unparsable": 0, "failed": 0} and told["problems"] == {}
    assert set(done) == set(FAULTS), "every kind of fault came about"
    assert told["faults"] == {
        "HTTP 429": done["429"] + done["429 date"],
        "HTTP 500": done["500"],
        DROPPED: done["dropped"],
        TIMED_OUT: done["slow"],
        NOT_JSON: done["garbage"],
        NO_OBJECT: 3 * (done["no logprobs"] + done["wrong tokens"]),
    }
    assert sum(server.asked.values()) == 40 + sum(done.values()) and set(server.answered.values()) == {1}


def test_what_keeps_failing_is_an_answer_to_every_rule(comparisons, pool, settings):
    with Running(CallServer(share=1.0, faults=("500",))) as url:
        fast = settings(url, retry=RetrySettings(tries=3, first_wait=0.01))
        answers = list(ServerJudge(ASKING, fast).answers(list(rating_questions(comparisons, pool, 0))[:3]))
    assert [answer.problem for _, answer in answers] == ["HTTP 500"] * 3
    assert [len(answer.faults) for _, answer in answers] == [2, 0, 0], "of one request"


@pytest.mark.parametrize("kind", ["server", "batch"])
def test_a_rule_without_an_answer_is_asked_again_in_the_same_call(kind, comparisons, pool, settings, tmp_path):
    """What was answered keeps its first answer, and the others' attempts are counted."""
    few = lambda: rating_questions(comparisons[:1], pool, 0)  # noqa: E731
    policy, first = RetryPolicy(unparsable=3), {}
    with Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        if kind == "server":
            server = CallServer(leaves_out=["BC", "AC", "A", "B"])
            with Running(server) as url:
                list(ask_all(ServerJudge(ASKING, settings(url, concurrency=1)), few, journal, policy))
            asked = list(server.asked.values())
        else:
            asked = [0, 0]
            for without in (["BC", "AC"], ["A", "B"]):
                (file,) = write_batch_requests(tmp_path, few, ASKING, journal, policy)
                rows = [json.loads(line) for line in file.read_text().splitlines()]
                first = first or rows
                assert rows == first, "the same calls"
                asked = [n + 1 for n in asked]
                (tmp_path / "results").mkdir(exist_ok=True)
                made = [
                    {"custom_id": row["custom_id"], "error": None, "response": {
                        "status_code": 200, "body": call_reply({n: p for n, p in LIKELY.items() if n not in left_out})}}
                    for row, left_out in zip(rows, without, strict=True)
                ]  # fmt: skip
                (tmp_path / f"results/{without[0]}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
                assert read_batch_results(tmp_path, few, ASKING, journal, pool)
            assert not write_batch_requests(tmp_path, few, ASKING, journal, policy)
        told = summary(journal)
    assert asked == [2, 2] and told["questions"] == {"ok": 6, "unparsable": 0, "failed": 0}
    assert told["faults"] == {NO_ENTRY: 4} and told["asked_again"] == 4
    assert sorted(row[-1] for row in ratings_in(tmp_path / "j")) == [1, 1, 2, 2, 2, 2]


def test_what_is_never_answered_stays_without_a_rating_and_is_counted(comparisons, pool, tmp_path):
    class Forgetful(CallServer):
        async def answer(self, body):
            return web.json_response(call_reply({name: LIKELY[name] for name in "AC"}))

    with Running(Forgetful()) as url:
        judge = enc.judges.server(url, model="m", rules_per_call=0, concurrency=4)
        rated = enc.rate(comparisons, pool, judge=judge, journal=tmp_path / "j")
    assert rated.problems == {NO_ENTRY: 40} and rated.rated == 80
    assert all((one.mask == [[True, False, True]] * 2).all() for one in rated)
    assert "rules_per_call" in hint(NO_ENTRY)


def test_isolated_and_together_never_mix_in_one_journal(comparisons, pool, tmp_path):
    """Nor do calls of other rules, of another order, or of another size."""
    shown = {}
    for name, rules, size in (
        ("alone", pool.rules, 1),
        ("all", pool.rules, 0),
        ("reversed", pool.rules[::-1], 0),
        ("two", pool.rules, 2),
        ("fewer", pool.rules[:2], 0),
    ):
        server = CallServer() if size != 1 else FaultyServer()
        with Running(server) as url:
            judge = enc.judges.server(url, model="m", rules_per_call=size, concurrency=4)
            options = {"judge": judge, "journal": tmp_path / "j"}
            rated = enc.rate(comparisons[:3], RulePool(list(rules)), **options)
            first = sum(server.asked.values())
            again = enc.rate(comparisons[:3], RulePool(list(rules)), **options)
            assert sum(server.asked.values()) == first, "the same call asks nothing"
        assert first == 6 * {"alone": 3, "two": 2}.get(name, 1), name
        np.testing.assert_array_equal(rated[0].ratings, again[0].ratings)
        shown[name] = {rule: rated[0].ratings[0, i] for i, rule in enumerate(rated[0].rules)}
    assert shown["all"]["kind"] != shown["alone"]["kind"]
    assert shown["reversed"]["kind"] == pytest.approx(0.5), "its letter is C there"
    keys = [row[:3] for row in ratings_in(tmp_path / "j")]
    assert len(keys) == 6 * (3 + 3 + 3 + 3 + 2)


def test_a_journal_refuses_questions_that_are_asked_in_other_calls(comparisons, pool, tmp_path):
    alone = request_format(YES_NO_IRRELEVANT, "m").identity
    for identity, size in ((alone, 0), (ASKING.identity, 1), (ASKING.identity, 2)):
        with Journal(tmp_path / "j", identity, pool) as journal:
            with pytest.raises(InputError, match="asked with other rules than this judge is"):
                list(journal.pending(rating_questions(comparisons, pool, size)))


def test_one_calls_answers_become_durable_together(comparisons, pool, tmp_path, monkeypatch):
    """A kill at any commit leaves whole calls: every committed transaction is looked at."""
    from encore_jax.judge import journal_file

    path, seen, commit = tmp_path / "j", [], journal_file.JournalWriter._commit

    def looked_at(self, connection, rows):
        commit(self, connection, rows)
        seen.append(len(ratings_in(path)))

    monkeypatch.setattr(journal_file.JournalWriter, "_commit", looked_at)
    with Running(CallServer()) as url:
        judge = enc.judges.server(url, model="m", rules_per_call=0, concurrency=2)
        enc.rate(comparisons, pool, judge=judge, journal=path)
    assert len(seen) > 1 and seen[-1] == 120 and all(count % 3 == 0 for count in seen)


def test_interrupted_it_asks_only_about_responses_that_have_no_answer(comparisons, pool, tmp_path):
    class Dying(CallServer):
        async def answer(self, body):
            if sum(self.answered.values()) >= 10:
                return web.Response(status=401, text="quota is used up")
            return await super().answer(body)

    with Running(Dying()) as url, pytest.raises(InputError, match="quota is used up"):
        judge = enc.judges.server(url, model="m", rules_per_call=0, concurrency=2)
        enc.rate(comparisons, pool, judge=judge, journal=tmp_path / "j")
    with Running(server := CallServer()) as url:
        judge = enc.judges.server(url, model="m", rules_per_call=0, concurrency=2)
        rated = enc.rate(comparisons, pool, judge=judge, journal=tmp_path / "j")
    assert 40 - 11 <= sum(server.asked.values()) <= 40 - 10 + 2 and rated.rated == 120


def test_a_judge_is_given_up_after_replies_without_a_rating_not_after_rules(comparisons, pool, settings, tmp_path):
    server = CallServer(share=1.0, faults=("no logprobs",))
    with Running(server) as url, Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        judge = ServerJudge(ASKING, settings(url, concurrency=2))
        with pytest.raises(InputError, match="none of the first 20 answers .*20 no JSON object"):
            list(ask_all(judge, lambda: rating_questions(comparisons, pool, 0), journal, hopeless=20))
        assert summary(journal)["questions"]["unparsable"] == 60


def test_a_server_that_takes_no_schema_is_told_apart_and_says_how_else_to_ask(comparisons, pool, tmp_path):
    class Strict(CallServer):
        async def answer(self, body):
            if body.get("response_format", {}).get("type") == "json_schema":
                return web.json_response({"error": {"message": "response_format json_schema is unknown"}}, status=400)
            return await super().answer(body)

    with Running(Strict()) as url:
        judge = enc.judges.server(url, model="m", rules_per_call=0)
        with pytest.raises(InputError, match="HTTP 400.*structured='json_object'.*or none"):
            enc.rate(comparisons, pool, judge=judge, journal=tmp_path / "j")
        for how in ("json_object", "guided_json", "none"):
            judge = enc.judges.server(url, model="m", rules_per_call=0, structured=how)
            assert enc.rate(comparisons, pool, judge=judge, journal=tmp_path / "j").rated == 120


def test_results_of_a_batch_are_counted_by_line(comparisons, pool, tmp_path):
    few = list(rating_questions(comparisons[:2], pool, 0))
    (file,) = write_requests(tmp_path, few, ASKING)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 4 == len({row["custom_id"] for row in rows})
    reply = {"status_code": 200, "body": call_reply(LIKELY)}
    made = [{"custom_id": row["custom_id"], "response": reply} for row in rows[:2]]
    made += [{"custom_id": rows[2]["custom_id"], "response": {"status_code": 500, "body": {}}}]
    made += [{"custom_id": rows[3]["custom_id"].replace(rows[3]["custom_id"][35:47], "0" * 12), "response": reply}]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    conversations = {question.key.conversation for question in few}
    with Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        skips = ingest_results([path], ASKING, journal, pool, conversations)
        again = ingest_results([path], ASKING, journal, pool, conversations)
        told = summary(journal)
    other = "answer about a rule that is not asked about (another one, or reworded)"
    assert (skips.kept, skips.reasons) == (3, {other: 1}) and again.kept == 0
    assert told["questions"] == {"ok": 6, "unparsable": 0, "failed": 3} and told["problems"] == {"HTTP 500": 3}


def test_ten_rules_in_one_call_cost_a_quarter_of_ten_calls_and_the_estimate_says_so():
    """In characters of the shipped wording, for a conversation of a hundred words; tokens are counted the same way."""
    pool = RulePool.shipped("safety_10")
    pair = Comparison((Message("user", "How do I pick a lock? " * 10),), ("First, buy a set of picks. " * 8, "No."), 0)
    told = {}
    for size, asking, prompt in (
        (1, request_format(YES_NO_IRRELEVANT, "m"), YES_NO_IRRELEVANT),
        (0, ASKING, YES_NO_CALL),
    ):
        limit = lambda together: answer_limit(asking.identity.decoding, prompt, together)  # noqa: B023, E731
        questions = rating_questions([pair], pool, size)
        told[size] = estimate(questions, lambda q: shared_texts(prompt, q), None, answer_tokens=limit)  # noqa: B023
    assert (told[1].requests, told[1].questions, told[0].requests, told[0].questions) == (20, 20, 2, 20)
    assert told[0].prompt_tokens <= told[1].prompt_tokens / 4
    assert told[0].answer_tokens == 2 * (16 * 10 + 32) and told[1].answer_tokens == 20
    assert estimate_text(told[0]).startswith("2 requests for 20 ratings about 2 conversations")


def test_rules_of_each_comparison_are_not_asked_in_calls(comparisons, pool):
    judge = enc.judges.server("http://127.0.0.1:9", model="m", rules_per_call=0)
    with pytest.raises(InputError, match="rules: each comparison has rules of its own"):
        enc.rate(comparisons[:1], pool, judge=judge, rules=[["kind"]])
