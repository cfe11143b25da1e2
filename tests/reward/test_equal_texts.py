"""Equal inputs have equal scores, to the last bit, wherever something is scored; and are run once."""

import asyncio
import copy
import functools
import itertools
import threading

import jax
import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.judge.devices.model import ModelJudge
from encore_jax.judge.question import Key, Question
from encore_jax.reward.rl import reward_function
from encore_jax.reward.scorer import Scorer
from encore_jax.rules import Rule
from encore_jax.serve.app import App
from encore_jax.serve.batcher import Batcher
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service
from tests.experiments import tiny_reward_model
from tests.serve.asgi import request

REFUSAL = "I can't help with that."
PROMPTS = [f"Question {i}, please? " + "word " * i for i in range(9)]
OTHERS = ["No.", "Sure, take a pick and turn it.", "x" * 70]
SEED = 3


def texts(copies=4):
    """Every prompt with several copies of one answer, among others."""
    answers = list(itertools.chain(*zip([REFUSAL] * copies, [*OTHERS, "Nono."], strict=True)))
    return [((Message("user", prompt),), answer) for prompt in PROMPTS for answer in answers]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory(buckets=(256,))


@functools.cache
def compiled(devices=1):
    return Scorer(tiny_reward_model.in_memory(buckets=(256,)), tokens_per_batch=512, devices=jax.devices()[:devices])


def scorer_of(kind, devices=1):
    """A scorer of some kind that shares what is compiled with all others."""
    made = copy.copy(compiled(devices))
    made.__class__ = kind
    made.go, made.inside = threading.Event(), threading.Event()
    return made


class Counting(Scorer):
    """Counts the tokens that go through the model, padding left out."""

    tokens = 0

    def dispatch(self, rows, shape):
        self.tokens += sum(len(tree) for trees in rows for tree in trees)
        return super().dispatch(rows, shape)


@pytest.mark.parametrize("devices", [1, 8])
def test_equal_texts_of_a_batch_have_one_score_and_are_run_once(devices):
    many, once = (scorer_of(Counting, devices) for _ in range(2))
    several = texts()
    got = many.run_texts(several)
    for _, group in itertools.groupby(sorted(range(len(several)), key=lambda i: str(several[i])), lambda i: several[i]):
        rows = got[list(group)]
        assert (rows == rows[0]).all()
    assert np.unique(got[:, 0]).size == len(PROMPTS) * 5
    once.run_texts(list(dict.fromkeys(several)))
    assert many.tokens == once.tokens


def test_equal_tokens_have_one_score_whatever_text_and_prompt_they_come_from():
    rng, scorer = np.random.default_rng(SEED), scorer_of(Counting)
    sequences = [rng.integers(0, 256, n).astype(np.int32) for n in (40, 7, 90, 7)]
    order = rng.integers(0, 4, 60)
    got = scorer.run_sequences([sequences[i] for i in order], [f"prompt {i}" for i in range(60)])
    for i in range(4):
        assert (got[order == i] == got[order == i][0]).all()
    assert np.unique(got[:, 0]).size == 4 and scorer.tokens == sum(map(len, sequences))


def test_rewards_of_equal_responses_are_equal(model):
    rewards = model.rewards(PROMPTS, [[REFUSAL, *OTHERS[: i % 4], REFUSAL] for i in range(len(PROMPTS))])
    assert all(row[0] == row[-1] for row in rewards)
    assert np.unique(np.concatenate(rewards)).size > len(PROMPTS)


def test_a_group_of_equal_completions_has_no_spread(model):
    function = reward_function(model)
    got = np.array(function(prompts=[p for p in PROMPTS for _ in range(8)], completions=[REFUSAL] * 72)).reshape(-1, 8)
    assert (got.std(1, ddof=1) == 0).all() and np.unique(got[:, 0]).size == len(PROMPTS)


def test_a_reward_model_as_judge_rates_equal_texts_equally(model):
    rule = Rule(model.rules[0], "It is so.")
    asked = [
        Question(Key(f"{i:032x}", 0, rule.name), (Message("user", PROMPTS[i % 2]),), REFUSAL, rule) for i in range(12)
    ]
    scores = [answer.evidence["score"] for _, answer in ModelJudge(model, "tiny").answers(asked)]
    assert len(scores) == 12 and len(set(scores)) == 2


class Slow(Counting):
    """As a scorer, but every batch waits for a signal."""

    def dispatch(self, rows, shape):
        self.inside.set()
        assert self.go.wait(60)
        return super().dispatch(rows, shape)


def test_a_server_runs_equal_texts_of_requests_that_meet_once():
    scorer = scorer_of(Slow)
    several = texts()[:12]
    sequences = scorer.tokenize(several)
    groups = [prompt[0].content for prompt, _ in several]
    batcher = Batcher(scorer, 10**6)
    batcher.start()
    jobs = [batcher.submit(sequences, groups)]
    assert scorer.inside.wait(60)  # the first request is in the model when the others come, in part
    jobs += [batcher.submit(sequences[i:], groups[i:]) for i in (0, 5, 0)]
    batcher.drop(jobs.pop())
    scorer.go.set()
    first, second, third = (job.answer.result(60) for job in jobs)
    batcher.close(60)
    assert (first == second).all() and (third == first[5:]).all()
    same = [i for i, text in enumerate(several) if text == several[0]]
    assert len(same) > 1 and (first[same] == first[0]).all() and np.isfinite(first).all()
    counting = scorer_of(Counting)
    counting.run_texts(list(dict.fromkeys(several)))
    assert scorer.tokens == counting.tokens and batcher.waiting_tokens == 0


def test_a_text_is_run_as_long_as_somebody_asks_for_it_and_once_for_those_who_come_later():
    scorer = scorer_of(Counting)
    (sequence,) = scorer.tokenize(texts()[:1])
    batcher = Batcher(scorer, 10**6)
    one, other = (batcher.submit([sequence, sequence], ["a", "a"]) for _ in range(2))
    batcher.drop(one)
    batcher.start()
    values = other.answer.result(60)
    assert np.isfinite(values).all() and (values[0] == values[1]).all() and scorer.tokens == len(sequence)
    later = batcher.submit([sequence, sequence[:-1]], ["b", "b"]).answer.result(60)
    batcher.close(60)
    assert (later[0] == values[0]).all() and (later[1] != values[0]).any()
    assert scorer.tokens == 2 * len(sequence) - 1


def test_equal_texts_in_one_request_of_every_dialect_are_equal():
    service = Service(scorer_of(Scorer), "tiny", 10**6)
    service.batcher.start()
    app = App(service, Metrics())

    def ask(path, body):
        reply = asyncio.run(request(app.asgi, path, body))
        assert reply.status == 200, reply.body
        return reply.json()

    responses = [REFUSAL, *OTHERS, REFUSAL]
    item = ask("/v1/score", {"prompt": "Hi", "responses": responses, "explain": True})["items"][0]
    assert item["rewards"][0] == item["rewards"][-1]
    assert all(scores[0] == scores[-1] for scores in item["scores"].values())
    got = ask("/rewards", {"prompts": ["Hi"] * 8, "completions": [REFUSAL] * 8})["rewards"]
    assert len(set(got)) == 1
    service.close()
