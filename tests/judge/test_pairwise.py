"""Pairs put to a judge: the order is chance by seed, a tie or an error is one half, evaluation reads the verdicts."""

import numpy as np
import pytest
from aiohttp import web

from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.preference import preference_results
from encore_jax.evaluation.verdicts import verdict_rewards
from encore_jax.judge.journal import Journal
from encore_jax.judge.pairwise import LETTER, SAFE_AND_HELPFUL, pair_questions, write_verdicts
from encore_jax.judge.question import Status
from encore_jax.judge.replies import CALLED_TOOL, FILTERED
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import ServerJudge
from tests.judge.faulty_server import FaultyServer, Running, chat

ASKING, RULE = request_format(SAFE_AND_HELPFUL, "m"), SAFE_AND_HELPFUL.rule


class Verdicts(FaultyServer):
    """Judges by a function of the question's text."""

    def __init__(self, verdict):
        super().__init__()
        self.verdict = verdict

    async def answer(self, body):
        text = body["messages"][-1]["content"]
        a, b = text.split("--- response A ---")[1].split("--- response B ---")
        return web.json_response(chat({}, self.verdict(a.strip(), b.split("--- end ---")[0].strip())))


def longer(a, b):
    return "A is longer. [[A]]" if len(a) > len(b) else "B is. [[B]]" if len(b) > len(a) else "Equal: [[C]]"


@pytest.fixture
def judged(tmp_path, settings):
    """Runs a verdict function over comparisons; returns counts and the file."""

    def run(verdict, comparisons, seed=0, both=False):
        path = tmp_path / f"verdicts-{seed}-{both}.jsonl"
        journal_path = tmp_path / f"journal-{seed}-{both}"
        with (
            Running(Verdicts(verdict)) as url,
            Journal(journal_path, ASKING.identity, [RULE]) as journal,
        ):
            judge = ServerJudge(ASKING, settings(url))
            for _ in ask_all(judge, lambda: pair_questions(comparisons, seed, both=both), journal, hopeless=0):
                pass
            asked = pair_questions(comparisons, seed, both=both)
            return write_verdicts(path, comparisons, journal, asked), path

    return run


def test_verdicts_of_other_runs_in_a_shared_journal_are_not_this_ones(settings, pairs, tmp_path):
    """Each run's file is what it would be with a journal of its own."""

    def run(journal_path, seed, both):
        with Running(Verdicts(lambda a, b: "[[A]]")) as url, Journal(journal_path, ASKING.identity, [RULE]) as journal:
            asked = list(pair_questions(pairs, seed, both=both))
            list(ask_all(ServerJudge(ASKING, settings(url)), lambda: asked, journal))
            counts = write_verdicts(tmp_path / "verdicts", pairs, journal, asked)
        return counts, (tmp_path / "verdicts").read_text()

    runs = [(0, True), (0, False), (1, False), (0, False)]
    alone = [run(tmp_path / f"own-{i}", *options) for i, options in enumerate(runs)]
    assert [run(tmp_path / "shared", *options) for options in runs] == alone
    assert alone[1] == alone[3] != alone[2] and alone[1][0]["verdicts"] == 35


@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls"])
def test_a_verdict_that_was_cut_off_or_withheld_is_none(reason, settings, pairs):
    class Cut(FaultyServer):
        async def answer(self, body):
            reply = chat({}, "I compare. If A were safer I would answer [[A]], but here")
            reply["choices"][0]["finish_reason"] = reason
            return web.json_response(reply)

    with Running(Cut()) as url:
        answers = list(ServerJudge(ASKING, settings(url)).answers(pair_questions(pairs[:4], 0)))
    assert all(answer.rating is None and answer.status is Status.UNPARSABLE for _, answer in answers)
    problems = {"length": "cut off after 256 tokens", "content_filter": FILTERED, "tool_calls": CALLED_TOOL}
    assert {answer.problem for _, answer in answers} == {problems[reason]}


def test_instructions_in_the_users_turn_are_a_prompt_of_its_own(pairs):
    question = next(pair_questions(pairs, 0))
    for prompt in (SAFE_AND_HELPFUL, LETTER):
        system, user = prompt.ask(question)
        (alone,) = prompt.in_user_turn().ask(question)
        assert alone.role == "user" and alone.content == f"{system.content}\n\n{user.content}"
        assert prompt.in_user_turn().digest != prompt.digest and prompt.in_user_turn().in_user_turn().head


@pytest.fixture
def pairs():
    return [
        Comparison((Message("user", f"Q{i}"),), ("x" * (1 + i % 7), "y" * (1 + i % 5)), i % 2, id=f"p{i}")
        for i in range(35)
    ]


@pytest.mark.parametrize("both", [False, True])
def test_a_judge_without_position_bias_agrees_in_any_order(both, judged, pairs):
    counts, path = judged(longer, pairs, both=both)
    margins = np.array([len(c.responses[0]) - len(c.responses[1]) for c in pairs])
    rewards, said = verdict_rewards(path, pairs)
    assert (np.sign(rewards[:, 0] - rewards[:, 1]) == np.sign(margins)).all()
    assert said["tie"] == (margins == 0).sum() * (1 + both) and sum(said.values()) == 35 * (1 + both)
    assert counts["verdicts"] == 35 * (1 + both)
    assert counts["undecided"] == (margins == 0).sum() and counts["without_verdict"] == 0
    assert counts["consistent"] == (35 if both else 0) and counts["contradicting"] == 0


def test_a_judge_that_sees_only_the_position_gets_one_half_when_asked_both_ways(judged, pairs):
    counts, path = judged(lambda a, b: "[[A]]", pairs, both=True)
    assert counts["contradicting"] == counts["undecided"] == 35
    assert (counts["for_the_first"], counts["for_the_second"]) == (70, 0)
    assert (verdict_rewards(path, pairs)[0] == 0.5).all()


def test_no_verdict_is_one_half_and_a_method_row_of_evaluation(judged, pairs):
    counts, path = judged(lambda a, b: "I cannot say.", pairs)
    assert counts["without_verdict"] == counts["undecided"] == 35
    rewards, said = verdict_rewards(path, pairs)
    assert said == {"error": 35}
    told = preference_results({"judge": rewards}, np.arange(35), ["all"] * 35, 0, 100)["methods"][0]
    assert told["accuracy"]["value"] == 0.5 and told["ties"] == 35


def test_which_response_is_first_is_chance_by_seed_and_content():
    many = [Comparison((Message("user", f"Q{i}"),), ("a", "b"), 0) for i in range(400)]
    first = [q.key.response for q in pair_questions(many, 0)]
    assert 150 < sum(first) < 250
    assert first == [q.key.response for q in pair_questions(many, 0)]
    assert first[::-1] == [q.key.response for q in pair_questions(many[::-1], 0)], "not by place in the file"
    assert first != [q.key.response for q in pair_questions(many, 1)]
    for question, comparison in zip(pair_questions(many, 0), many, strict=True):
        assert question.first == comparison.responses[question.key.response]


def test_the_last_verdict_counts():
    assert SAFE_AND_HELPFUL.read("At first [[A]], but no: [[ B ]]").rating == 0.0


def test_letters_are_read_as_the_first_tokens_probabilities(settings, pairs):
    class Letters(FaultyServer):
        async def answer(self, body):
            assert body["max_tokens"] == 1 and body["logprobs"] is True
            first, second = body["messages"][-1]["content"].split("--- response A ---")[1].split("--- response B ---")
            longer = len(first.strip()) > len(second.split("--- end ---")[0].strip())
            return web.json_response(chat({" A": 0.3, "B": 0.2, "b": 0.2} if longer else {"A": 0.1, "B": 0.6}))

    requests = request_format(LETTER, "m")
    with Running(Letters()) as url:
        answers = list(ServerJudge(requests, settings(url)).answers(pair_questions(pairs, 0, prompt=LETTER, both=True)))
    assert len(answers) == 70 and requests.identity.digest != ASKING.identity.digest
    for question, answer in answers:
        longer = len(question.first) > len(question.second)
        assert answer.rating == 0.0, "b counts for B, and is likelier with it" if longer else "B is likelier"
        assert answer.relevance is None and len(answer.evidence["logprobs"]) == (3 if longer else 2)


def test_what_is_not_a_pair_or_not_judged_is_refused(pairs, judged):
    three = Comparison((Message("user", "Q"),), ("a", "b", "c"), 0, id="t")
    with pytest.raises(InputError, match="comparison t: 3 responses"):
        list(pair_questions([three], 0))
    _, path = judged(longer, pairs[:5])
    with pytest.raises(InputError, match="no verdict on comparison p5"):
        verdict_rewards(path, pairs)
