"""`enc.rate`: ratings in memory, asked once each; any judge; what went wrong is said in Python's words."""

import dataclasses
import re

import numpy as np
import pandas
import pytest
from aiohttp import web

import encore_jax as enc
from encore_jax.errors import InputError
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.prompts import PROMPTS, Prompt
from encore_jax.judge.question import Answer, Identity, Status
from encore_jax.judge.rate import JudgedComparisons, in_python, outcomes, rate
from encore_jax.judge.run import _HINTS, hint, nothing_rated
from encore_jax.report.judged_page import cells
from tests.experiments import tiny_model
from tests.judge.faulty_server import FaultyServer, Running, chat

FAST = RetrySettings(first_wait=0.01, longest_wait=0.05, patience=10.0, tries=2, first_contact=10.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Journals that are not named lie in a cache of this test's own."""
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Fixed:
    """A judge of one's own: P(kind) grows with a response's length; one rule it never rates."""

    identity = Identity("mine", "length", scale=(0.0, 100.0))

    def __init__(self, fails=()):
        self.fails, self.asked = fails, 0

    def answers(self, questions):
        for question in questions:
            self.asked += 1
            if question.rule.name in self.fails:
                yield question, Answer(Status.UNPARSABLE, problem="no number", evidence={"raw": "Well..."})
            else:
                yield question, Answer(Status.OK, rating=float(len(question.response)))


def judged_by_server(url, retry=FAST, **options):
    return enc.judges.server(url, model="m", retry=retry, concurrency=4, timeout=5.0, **options)


def test_a_server_rates_and_the_same_call_asks_nothing(comparisons, pool, cache):
    with Running(server := FaultyServer()) as url:
        rated = rate(comparisons, pool, judge=judged_by_server(url))
        asked = sum(server.asked.values())
        again = rate(comparisons, pool, judge=judged_by_server(url))
    assert asked == 40 * len(pool) == sum(server.asked.values()) == rated.rated and not rated.problems
    unit = (0.375 + 1) / 2
    expected = np.where(pool.directions > 0, unit, 1 - unit)
    for one, other, given in zip(rated, again, comparisons, strict=True):
        np.testing.assert_allclose(one.ratings, np.broadcast_to(expected, (2, 3)), rtol=1e-6)
        np.testing.assert_array_equal(one.ratings, other.ratings)
        assert (one.prompt, one.responses, one.preferred, one.id) == (
            given.prompt, given.responses, given.preferred, given.id,
        )  # fmt: skip
    assert rated.journal.is_relative_to(cache) and str(rated.journal) in repr(rated)


def test_interrupted_it_keeps_what_was_answered(comparisons, pool, tmp_path):
    class Dying(FaultyServer):
        async def answer(self, body):
            if sum(self.answered.values()) >= 30:
                return web.Response(status=401, text="quota is used up")
            return await super().answer(body)

    journal = tmp_path / "answers.sqlite"
    with Running(Dying()) as url, pytest.raises(InputError, match="quota is used up"):
        rate(comparisons, pool, judge=judged_by_server(url), journal=journal)
    with Running(server := FaultyServer()) as url:
        rated = rate(comparisons, pool, judge=judged_by_server(url), journal=journal)
    assert 120 - 31 <= sum(server.asked.values()) <= 120 - 30 + 4 and rated.rated == 120


def test_it_says_how_many_failed_and_why(comparisons, pool):
    class Shy(FaultyServer):
        async def answer(self, body):
            silent = "It is brief." in body["messages"][-1]["content"]
            return web.json_response(chat({"Sure": 0.9}, "Sure\nthing") if silent else self.reply)

    with Running(Shy()) as url:
        rated = rate(comparisons, pool, judge=judged_by_server(url), hopeless=0)
    assert sum(rated.problems.values()) == 40 and rated.rated == 80 and rated.questions == 120
    text = repr(rated)
    assert text.startswith("80 of 120 ratings: 40 responses on 3 rules, judge-rated by m.")
    assert "40 without a rating: " in text and "Sure thing" in text
    assert [row[:3] for row in cells(rated)[1:]] == [["kind", "40", "0"], ["rude", "40", "0"], ["brief", "0", "40"]]
    assert not any(one.mask[:, 2].any() for one in rated)


def test_a_judge_of_ones_own_and_rules_of_each_comparison(comparisons, pool):
    judge = Fixed()
    rated = rate(comparisons[:2], pool, judge=judge, rules=[["kind", "rude"], []])
    assert judge.asked == 4 and rated.questions == 4
    assert rated[0].mask.tolist() == [[True, True, False]] * 2 and not rated[1].mask.any()
    kind, rude = rated[0].ratings[0, :2]
    assert kind == pytest.approx(len(comparisons[0].responses[0]) / 100) and rude == pytest.approx(1 - kind)
    whole = rate(comparisons[:2], pool, judge=judge)
    assert judge.asked == 12 and whole.questions == 12, "what is known is not asked again"


def test_a_failed_question_is_asked_as_often_as_the_policy_says(comparisons, pool):
    for again in (1, 1, 2):
        judge = Fixed(fails=("brief",))
        rated = rate(comparisons[:5], pool, judge=judge, policy=enc.RetryPolicy(unparsable=again))
        assert rated.problems == {"no number": 10} and rated.words == {"no number": "Well..."}
        asked = judge.asked
    assert asked == 10


ROWS = [
    {"prompt": "Hi", "response": "Hello!", "kind": 5, "brief": 3},
    {"prompt": "Hi", "response": "Go.", "kind": 1, "brief": 5},
]
OWN = [
    {"prompt": row["prompt"], "response": row["response"], "ratings": {"kind": row["kind"], "brief": row["brief"]}}
    for row in ROWS
]
RECORDS = [
    enc.RatedResponse((enc.Message("user", "Hi"),), "Hello!", ("kind", "brief"), np.array([1.0, 0.5])),
    enc.RatedResponse((enc.Message("user", "Hi"),), "Go.", ("kind", "brief"), np.array([0.0, 1.0])),
]
PAIR = enc.Comparison((enc.Message("user", "Hi"),), ("Hello!", "Go."), 0, ("kind", "brief"), [[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize("source", [ROWS, OWN, RECORDS, [PAIR], pandas.DataFrame(ROWS), "csv"],
                         ids=["rows", "own format", "records", "comparison", "frame", "csv"])  # fmt: skip
def test_a_table_in_any_form_gives_the_same_ratings(source, tmp_path):
    if isinstance(source, str):
        pandas.DataFrame(ROWS).to_csv(source := tmp_path / "ratings.csv", index=False)
    scale = (1, 5) if source is OWN else None
    pairs = [
        {"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."},
        {"prompt": "Hi", "chosen": "Go.", "rejected": "?"},
    ]
    rules = {"kind": "It is kind.", "brief": "It is brief."}
    rated = rate(pairs, rules, judge=enc.judges.table(source, scale=scale))
    np.testing.assert_allclose(rated[0].ratings, [[1, 0.5], [0, 1]])
    assert rated[1].mask.tolist() == [[True, True], [False, False]]
    assert rated.problems == {"not in the table": 2} and "human-rated" in repr(rated)


def test_a_reward_model_rates(comparisons, tmp_path):
    rows = [dataclasses.replace(c, rules=("kind", "rude"), ratings=[[0.9, 0.2], [0.1, 1.0]]) for c in comparisons]
    model = enc.fit(rows, backbone=tiny_model.write(tmp_path / "model"), buckets=(128,))
    rules = enc.RulePool([enc.Rule("kind", "It is kind."), enc.Rule("rude", "It is rude.", -1)])
    rated = rate(comparisons, rules, judge=enc.judges.model(model))
    expected = np.clip(model.scores([c.prompt for c in comparisons], [c.responses for c in comparisons]), 0, 1)
    np.testing.assert_allclose(np.stack([c.ratings for c in rated]), expected, atol=1e-5)
    assert rated.judge.label == "model-rated"


def test_a_local_model_rates(comparisons, pool, tmp_path, monkeypatch):
    words = {"system": "Say A, B or C.", "head": "Read:", "question": "Is it true? {rule}"}
    letters = Prompt(name="letters.1", answers=("A", "B", "C"), **words)
    monkeypatch.setitem(PROMPTS, letters.name, letters)
    model = str(tiny_model.write(tmp_path / "model"))
    judge = enc.judges.local(model, prompt=letters.name, most_other=1.0, buckets=(512,))
    rated = rate(comparisons[:2], pool, judge=judge)
    assert rated.rated + sum(rated.problems.values()) == 12 and rated.judge.kind == "local"


def test_what_it_gives_is_what_the_other_functions_take(comparisons, pool, tmp_path):
    rated = rate(comparisons, pool, judge=Fixed())
    assert isinstance(rated, JudgedComparisons) and len(rated) == 20 and rated[0] == list(rated)[0]
    assert len(enc.reliability(rated, draws=10).rules) == 3
    assert enc.premise(rated, replicates=100).comparisons == 20
    page = rated.report(tmp_path / "ratings.html").read_text()
    assert "Ratings by a judge" in page and "<svg" in page and "<table>" in rated._repr_html_()
    assert rated.plot().axes
    folder = rated.save(tmp_path / "rated")
    read = list(enc.read_comparisons(folder / "comparisons.jsonl", pool=enc.RulePool.load(folder / "pool.yaml")))
    for one, other in zip(read, rated, strict=True):
        np.testing.assert_allclose(one.ratings, other.ratings, atol=1e-6)
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize(("change", "told"), [
    ({"comparisons": []}, "comparisons: there is no comparison. Fix: pass at least one"),
    ({"comparisons": [PAIR, "row"]}, "record 1: is a str"),
    ({"comparisons": "no.jsonl"}, "no.jsonl"),
    ({"pool": None}, "pool: is None"),
    ({"judge": "gpt"}, "judge: a str is no judge. Fix: pass encore_jax.judges.server"),
    ({"judge": enc.judges.server}, "judge: a function is no judge"),
    ({"judge": enc.judges.table("no.csv")}, "no.csv"),
    ({"rules": [["kind"]] * 3}, "rules: rules of 3 comparisons, and there are 1"),
    ({"rules": [["kinder"]]}, "no rule 'kinder'"),
    ({"policy": enc.RetryPolicy(failed=0)}, "policy.failed"),
    ({"judge": Fixed(fails=("kind",))}, r"none of the 2 questions has a rating: 2 no number; the last one says 'We"
                                        r"ll...'.*policy=RetryPolicy\(failed=6, unparsable=2\)"),
])  # fmt: skip
def test_what_it_refuses(change, told):
    given = {"comparisons": [PAIR], "pool": ["It is kind."], "judge": Fixed()} | change
    with pytest.raises(InputError, match=told):
        rate(given.pop("comparisons"), given.pop("pool"), **given)


@pytest.mark.parametrize(("options", "told"), [
    ({"prompt": "best"}, "prompt: 'best' is unknown"),
    ({"url": "ftp://x"}, r"server.urls\[0\]"),
    ({"extra": {"api_key": "x"}}, "may hold a secret"),
    ({"api": "grpc"}, "api: 'grpc' is unknown"),
    ({"concurrency": 0}, "server.concurrency"),
    ({"top": 99}, "top: got 99"),
])  # fmt: skip
def test_a_server_that_cannot_be_is_refused_before_it_is_asked(options, told):
    with pytest.raises(InputError, match=told):
        enc.judges.server(**{"url": "http://127.0.0.1:9", "model": "m"} | options)


PROBLEMS = [*_HINTS, "HTTP 404", "cut off after 1 tokens", "none of the offered answers"]


@pytest.mark.parametrize("words", ["", "System role not supported", "use max_completion_tokens", "top_logprobs is 20"])
@pytest.mark.parametrize("kind", ["server", "local"])
def test_no_remedy_names_a_flag_of_the_command_line(words, kind):
    for problem in PROBLEMS:
        fix = in_python(InputError("x", fix=hint(problem, words, kind))).fix
        assert "--" not in fix and "config." not in fix, fix
        for code in re.findall(r"\w+=\{.*\}\}?", fix):
            assert isinstance(eval(f"dict({code})"), dict), code
    error = nothing_rated("2 questions", {"HTTP 400": 2}, {}, "m", kind, "policy=...")
    assert "--" not in in_python(error).fix


def test_a_dead_server_is_one_line_in_pythons_words(comparisons, pool):
    with pytest.raises(InputError) as caught:
        rate(comparisons, pool, judge=judged_by_server("http://127.0.0.1:9", dataclasses.replace(FAST, patience=0.5)))
    assert "127.0.0.1:9" in str(caught.value) and "--config" not in str(caught.value)


def test_questions_that_nobody_answered_are_counted_as_such(comparisons, pool, tmp_path):
    from encore_jax.judge.journal import Journal
    from encore_jax.judge.question import rating_questions

    with Journal(tmp_path / "j.sqlite", Fixed.identity, pool) as journal:
        assert outcomes(lambda: rating_questions(comparisons, pool), journal) == {"no answer": 120}
