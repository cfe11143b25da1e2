"""The server judge against a server on loopback: nothing lost, nothing asked twice without need, limits kept."""

import collections
import itertools
import threading
import time

import pytest

from encore_jax.data import Message
from encore_jax.errors import InputError
from encore_jax.http.client import NOT_JSON
from encore_jax.http.contact import DROPPED, TIMED_OUT
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.export import summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import NUMERIC, YES_NO_IRRELEVANT
from encore_jax.judge.question import NOT_ASKED, Key, Question, Status, rating_questions
from encore_jax.judge.reading import NO_OFFERED_ANSWER
from encore_jax.judge.replies import NO_LOGPROBS
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import LOOKAHEAD, ServerJudge
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule
from tests.judge.faulty_server import FaultyServer, Running, chat

ASKING = request_format(YES_NO_IRRELEVANT, "some-model")


def test_a_rating_is_what_the_server_said(pool, comparisons, settings):
    server = FaultyServer()
    with Running(server) as url:
        answers = list(ServerJudge(ASKING, settings(url)).answers(rating_questions(comparisons, pool)))
    assert {q.key for q, _ in answers} == {q.key for q in rating_questions(comparisons, pool)}
    assert len(answers) == 120 and set(server.asked.values()) == {1}
    for _, answer in answers:
        assert answer.status == Status.OK and answer.faults == ()
        assert answer.rating == pytest.approx(0.375) and answer.relevance == pytest.approx(0.9375)
        assert answer.evidence["unlisted"] == pytest.approx(0.0625) and len(answer.evidence["logprobs"]) == 4


def test_every_fault_is_mended_and_counted(pool, comparisons, settings, tmp_path):
    server = FaultyServer(share=0.3, seed=1, slow=1.0)
    judge = None
    with Running(server) as url, Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        judge = ServerJudge(ASKING, settings(url, timeout=0.25))
        policy = RetryPolicy(unparsable=9)
        for _ in ask_all(judge, lambda: rating_questions(comparisons, pool), journal, policy):
            pass
        told = summary(journal)
    done = server.done
    assert told["questions"] == {"ok": 120, "unparsable": 0, "failed": 0} and told["problems"] == {}
    assert set(done) == set(server.faults), "every kind of fault came about"
    assert told["faults"] == {
        "HTTP 429": done["429"] + done["429 date"],
        "HTTP 500": done["500"],
        DROPPED: done["dropped"],
        TIMED_OUT: done["slow"],
        NOT_JSON: done["garbage"],
        NO_LOGPROBS: done["no logprobs"],
        NO_OFFERED_ANSWER: done["wrong tokens"],
    }
    assert sum(server.asked.values()) == 120 + sum(done.values()) and set(server.answered.values()) == {1}


def test_what_keeps_failing_has_an_answer_too_with_its_raw_text(pool, comparisons, settings):
    server = FaultyServer(share=1.0, faults=("500",))
    with Running(server) as url:
        fast = settings(url, retry=RetrySettings(tries=3, first_wait=0.01))
        question = next(rating_questions(comparisons, pool))
        ((_, answer),) = ServerJudge(ASKING, fast).answers([question])
    assert answer.status == Status.FAILED and answer.problem == "HTTP 500" and answer.evidence["raw"] == "internal"
    assert answer.faults == ("HTTP 500", "HTTP 500") and sum(server.asked.values()) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_at_fault_is_not_asked_again(status, pool, comparisons, settings):
    class Refusing(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            return web.json_response({"error": "too long"}, status=status)

    server = Refusing()
    with Running(server) as url:
        ((_, answer),) = ServerJudge(ASKING, settings(url)).answers(
            itertools.islice(rating_questions(comparisons, pool), 1)
        )
    assert answer.problem == f"HTTP {status}" and "too long" in answer.evidence["raw"]
    assert sum(server.asked.values()) == 1


def test_retry_after_leaves_the_server_alone(pool, comparisons, settings):
    times = []

    class Resting(FaultyServer):
        async def handle(self, request):
            times.append(time.monotonic())
            if len(times) == 1:
                from aiohttp import web

                return web.Response(status=429, headers={"Retry-After": "0.5"})
            return await super().handle(request)

    with Running(Resting()) as url:
        judge = ServerJudge(ASKING, settings(url, concurrency=1))
        assert len(list(judge.answers(itertools.islice(rating_questions(comparisons, pool), 3)))) == 3
    assert len(times) == 4 and times[1] - times[0] > 0.45


def test_no_more_requests_at_once_and_no_more_a_second_than_allowed(pool, comparisons, settings):
    class Slow(FaultyServer):
        async def answer(self, body):
            import asyncio

            await asyncio.sleep(0.02)
            return await super().answer(body)

    server = Slow()
    with Running(server) as url:
        limited = settings(url, concurrency=3, requests_per_second=100.0)
        started = time.monotonic()
        assert len(list(ServerJudge(ASKING, limited).answers(rating_questions(comparisons[:10], pool)))) == 60
    assert server.most_at_once <= 3
    assert time.monotonic() - started > 0.55, "60 requests at 100 a second"


def test_the_other_endpoint_takes_over(pool, comparisons, settings):
    broken, sound = FaultyServer(share=1.0, faults=("500", "dropped")), FaultyServer()
    with Running(broken) as first, Running(sound) as second:
        judge = ServerJudge(ASKING, settings(first, second))
        answers = list(judge.answers(rating_questions(comparisons, pool)))
    assert all(answer.status == Status.OK for _, answer in answers) and len(answers) == 120
    assert sum(sound.asked.values()) >= 120 > sum(broken.asked.values())


def test_a_server_that_comes_late_is_waited_for(pool, comparisons, settings):
    server = FaultyServer()
    late = Running(server)
    with late as url:
        pass  # now its port is known, and nobody listens there
    threading.Timer(0.5, late.__enter__).start()
    judge = ServerJudge(ASKING, settings(url, retry=RetrySettings(tries=30, first_wait=0.05, longest_wait=0.2)))
    try:
        answers = list(judge.answers(rating_questions(comparisons, pool)))
    finally:
        late.__exit__()
    assert len(answers) == 120 and all(a.status == Status.OK for _, a in answers)


def test_without_any_server_it_ends_and_says_what_to_do(pool, comparisons, settings):
    class Mortal(FaultyServer):
        async def answer(self, body):
            if sum(self.answered.values()) >= 5:
                self.dead.set()
            return await super().answer(body)

    server = Mortal()
    server.dead = threading.Event()
    retry = RetrySettings(tries=50, first_wait=0.01, longest_wait=0.02, patience=0.6)
    running = Running(server)
    judge = ServerJudge(ASKING, settings(running.__enter__(), retry=retry, concurrency=2))
    threading.Thread(target=lambda: server.dead.wait() and running.__exit__()).start()
    with pytest.raises(InputError, match="no endpoint could be reached for 0.6 s; .*run the same command again"):
        for _, answer in judge.answers(itertools.cycle(rating_questions(comparisons, pool))):
            assert answer.status in (Status.OK, Status.FAILED)


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_what_no_further_request_can_mend_ends_the_run(status, pool, comparisons, settings):
    class Closed(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            return web.json_response({"error": "go away"}, status=status)

    server = Closed()
    with Running(server) as url, pytest.raises(InputError, match=rf"HTTP {status}: .*go away"):
        list(ServerJudge(ASKING, settings(url)).answers(rating_questions(comparisons, pool)))
    assert sum(server.asked.values()) <= 16


def test_a_judge_that_never_gives_a_rating_is_given_up(pool, comparisons, settings, tmp_path):
    server = FaultyServer(share=1.0, faults=("no logprobs",))
    with Running(server) as url, Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        judge = ServerJudge(ASKING, settings(url))
        with pytest.raises(InputError, match="none of the first 50 answers .*50 no log-probabilities.*numeric.1"):
            list(ask_all(judge, lambda: rating_questions(comparisons, pool), journal, hopeless=50))
    assert sum(server.asked.values()) < 120


def test_a_judge_that_gives_no_more_ratings_is_given_up_with_its_last_words(pool, comparisons, settings, tmp_path):
    class Tired(FaultyServer):
        async def answer(self, body):
            if sum(self.asked.values()) > 30:
                from aiohttp import web

                return web.json_response(chat({"<think>": 0.999, "Yes": 1e-6}, "<think>"))
            return await super().answer(body)

    server = Tired()
    with Running(server) as url, Journal(tmp_path / "j", ASKING.identity, pool) as journal:
        judge = ServerJudge(ASKING, settings(url, concurrency=4))
        words = "none of the last 50 answers holds a rating: 50 more than 50 % of .*says '<think>'.*without reasoning"
        with pytest.raises(InputError, match=words):
            list(ask_all(judge, lambda: rating_questions(comparisons, pool), journal, hopeless=50))
        told = summary(journal)
    assert told["questions"]["ok"] == 30 and told["questions"]["unparsable"] == 50, "all that was answered is kept"
    assert set(told["words"].values()) == {"<think>"}


def test_questions_are_drawn_as_they_are_needed(pool, comparisons, settings):
    drawn = collections.Counter()

    def endless():
        for question in itertools.cycle(rating_questions(comparisons, pool)):
            drawn["n"] += 1
            yield question

    with Running(FaultyServer()) as url:
        answers = ServerJudge(ASKING, settings(url, concurrency=4)).answers(endless())
        for got in range(1, 200):
            next(answers)
            assert drawn["n"] <= got + LOOKAHEAD * 4
        answers.close()
    assert threading.active_count() < 20
    assert not [t for t in threading.enumerate() if t.name == "server-judge"]


def test_an_error_while_questions_are_made_reaches_the_caller(pool, comparisons, settings):
    def broken():
        yield from itertools.islice(rating_questions(comparisons, pool), 5)
        raise ValueError("no more")

    with Running(FaultyServer()) as url, pytest.raises(ValueError, match="no more"):
        list(ServerJudge(ASKING, settings(url)).answers(broken()))
    assert not [t for t in threading.enumerate() if t.name == "server-judge"]


def test_numbers_are_read_from_the_text_and_completions_from_their_own_shape(pool, comparisons, settings):
    seen = []

    class Numeric(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            seen.append(body)
            if "prompt" in body:
                top = [{" Yes": -0.2231435513142097, "No": -2.302585092994046}]
                return web.json_response({"choices": [{"text": " Yes", "logprobs": {"top_logprobs": top}}]})
            return web.json_response(chat({}, "0.8"))

    question = next(rating_questions(comparisons, pool))
    with Running(Numeric()) as url:
        ((_, number),) = ServerJudge(request_format(NUMERIC, "m"), settings(url)).answers([question])
        ids = request_format(YES_NO_IRRELEVANT, "m", api="completions", render=lambda messages: [1, 2, len(messages)])
        ((_, raw),) = ServerJudge(ids, settings(url)).answers([question])
    assert number.rating == 0.8 and number.relevance is None and raw.rating == pytest.approx(0.7)
    assert seen[0]["temperature"] == 0.0 and "logprobs" not in seen[0]
    assert seen[1]["prompt"] == [1, 2, 2] and seen[1]["logprobs"] == 20 and seen[1]["max_tokens"] == 1


def test_identities_tell_apart_what_changes_answers():
    made = [
        request_format(YES_NO_IRRELEVANT, "m"),
        request_format(NUMERIC, "m"),
        request_format(YES_NO_IRRELEVANT, "n"),
        request_format(YES_NO_IRRELEVANT, "m", revision="2"),
        request_format(YES_NO_IRRELEVANT, "m", top=5),
        request_format(YES_NO_IRRELEVANT, "m", api="completions"),
        request_format(YES_NO_IRRELEVANT, "m", extra={"seed": 1}),
        request_format(YES_NO_IRRELEVANT, "m", extra={"seed": 2}),
        request_format(YES_NO_IRRELEVANT, "m", extra={"max_tokens": None}),
        request_format(YES_NO_IRRELEVANT, "m", extra={"max_completion_tokens": 1}),
        request_format(YES_NO_IRRELEVANT, "m", most_other=0.9),
        request_format(YES_NO_IRRELEVANT.in_user_turn(), "m"),
    ]
    assert len({requests.identity.digest for requests in made}) == len(made)
    assert made[0].identity.digest == request_format(YES_NO_IRRELEVANT, "m").identity.digest
    assert [requests.identity.scale for requests in made[:2]] == [(-1.0, 1.0), (0.0, 1.0)]


def test_extra_fields_are_added_left_out_and_renamed():
    question = Question(Key("0" * 32, 0, "kind"), (Message("user", "Hi"),), "Hello", Rule("kind", "It is kind."))

    def body(prompt=NUMERIC, **extra):
        return request_format(prompt, "m", extra=extra).body(question)

    assert body()["max_tokens"] == 8 and body(seed=3)["seed"] == 3 and body(max_tokens=64)["max_tokens"] == 64
    for name in ("max_completion_tokens", "max_output_tokens", "max_new_tokens"):
        renamed = body(**{name: 64})
        assert renamed[name] == 64 and "max_tokens" not in renamed
    both = body(max_tokens=8, max_completion_tokens=64)
    assert both["max_tokens"] == 8 and both["max_completion_tokens"] == 64
    bare = body(max_tokens=None, temperature=None)
    assert "max_tokens" not in bare and "temperature" not in bare
    assert "max_tokens" in body(max_completion_tokens=None) and "max_completion_tokens" not in body(
        max_completion_tokens=None
    )
    first = body(YES_NO_IRRELEVANT, max_completion_tokens=1, temperature=None)
    assert first["logprobs"] is True and "max_tokens" not in first and "temperature" not in first


@pytest.mark.parametrize(
    "extra",
    [
        {"messages": []},
        {"prompt": "x"},
        {"model": "other"},
        {"stream": True},
        {"n": 2},
        {"best_of": 3},
        {"echo": True},
        {"max_tokens": 0},
        {"max_tokens": "64"},
        {"max_completion_tokens": 1.5},
        {"max_tokens": True},
        {"api_key": "sk-secret"},
        {"Authorization": "Bearer sk-secret"},
        {"seed": float("nan")},
        {"x": {1}},
    ],
    ids=str,
)
def test_extra_fields_that_change_what_a_reply_means_are_refused(extra):
    with pytest.raises(InputError, match="extra.*Fix: ") as caught:
        request_format(NUMERIC, "m", extra=extra)
    assert "sk-secret" not in str(caught.value)


def test_a_question_that_cannot_be_put_fails_alone(pool, comparisons, settings):
    def render(messages):
        if "Question 1\n" in messages[-1].content:
            raise InputError("the template refuses this", where="messages")
        return [1, 2]

    class Plain(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            return web.json_response({"choices": [{"text": "Yes", "logprobs": {"top_logprobs": [{"Yes": -0.2}]}}]})

    requests = request_format(YES_NO_IRRELEVANT, "m", api="completions", render=render)
    with Running(Plain()) as url:
        answers = list(ServerJudge(requests, settings(url)).answers(rating_questions(comparisons, pool)))
    failed = [(question, answer) for question, answer in answers if answer.status is not Status.OK]
    assert len(answers) == 120 and len(failed) == 6
    assert {answer.problem for _, answer in failed} == {NOT_ASKED}
    assert all("template refuses" in answer.evidence["words"] for _, answer in failed)
