"""K named reward functions of one model: its scores, its weights, one forward a batch, in every trainer's form."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.reward.rl import reward_function
from encore_jax.reward.rule_rewards import RewardFunctions, remote_reward_functions, reward_functions
from encore_jax.reward.scored import Scored
from encore_jax.reward.scorer import Scorer
from encore_jax.reward.trainers import (
    conversation_rewards,
    nemo_rl_weights,
    verl_compute_score,
    verl_settings,
)
from tests.experiments import tiny_reward_model
from tests.raw_server import RawServer, bodies, reply

ROOT = Path(__file__).parents[2]
PROMPTS = ["Hi", "Hi", "What is a lock?"]
COMPLETIONS = ["No.", "Sure, why not?", ""]
TOO_LONG = "x" * 300
CLOSE = {"abs": 3e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def scores(model):
    pairs = zip(PROMPTS, COMPLETIONS, strict=True)
    return tiny_reward_model.scores_alone(model, [((Message("user", prompt),), answer) for prompt, answer in pairs])


@pytest.fixture
def forwards(monkeypatch):
    """How often a batch is given to the model."""
    calls, run = [], Scorer.run_texts
    monkeypatch.setattr(Scorer, "run_texts", lambda self, texts: calls.append(len(texts)) or run(self, texts))
    return calls


def test_each_function_gives_its_rules_scores_and_all_cost_one_forward(model, scores, forwards):
    functions = reward_functions(model)
    assert [function.__name__ for function in functions] == list(model.rules)
    got = [function(PROMPTS, COMPLETIONS, completion_ids=[[1]] * 3, answer=["x"] * 3) for function in functions]
    assert np.array(got).T == pytest.approx(scores, **CLOSE)
    assert forwards == [3] and functions.batches == 1
    assert functions.by_rule(PROMPTS, COMPLETIONS) == dict(zip(model.rules, got, strict=True))
    assert functions["privacy"](PROMPTS, COMPLETIONS) == got[1] and functions[1:] == list(functions)[1:]
    assert forwards == [3]


def test_weights_travel_and_the_weighted_sum_is_the_composed_reward(model):
    composed = reward_function(model)(PROMPTS, COMPLETIONS)
    functions = reward_functions(model)
    assert functions.weights == pytest.approx(tiny_reward_model.WEIGHTS)
    values = np.array([function(PROMPTS, COMPLETIONS) for function in functions])
    assert np.array(functions.weights) @ values == pytest.approx(composed, abs=1e-6)
    assert functions.scored(PROMPTS, COMPLETIONS).rewards == pytest.approx(composed, abs=1e-6)
    weighted = reward_functions(model, weighted=True)
    assert weighted.weights == (1.0, 1.0, 1.0)
    assert np.sum([function(PROMPTS, COMPLETIONS) for function in weighted], 0) == pytest.approx(composed, abs=1e-6)
    agreement = dataclasses.replace(model.passport, agreement=(0.2, 0.2, 0.6))
    by_agreement = dataclasses.replace(model, passport=agreement).weighted("agreement")
    assert reward_functions(by_agreement).weights == pytest.approx((0.2, 0.2, 0.6))


def test_a_batch_is_known_by_what_it_holds_not_by_the_lists_that_hold_it(model, forwards):
    functions = reward_functions(model)
    prompts, completions = [[{"role": "user", "content": "Hi"}]], [[{"role": "assistant", "content": "No."}]]
    first = functions[0](prompts, completions)
    assert functions[1](tuple(prompts), list(completions)) and len(forwards) == 1
    completions[0][0]["content"] = "Sure, why not?"  # a trainer that fills its lists again
    assert functions[0](prompts, completions) != first and len(forwards) == 2
    for _ in range(2):  # two batches in turn, as several threads may bring them
        functions[2](["Hi"], ["a"]), functions[2](["Hi"], ["b"])
    assert len(forwards) == 4


def test_too_long_completions_have_no_reward_or_the_one_asked_for_on_every_rule(model):
    for weighted in (False, True):
        functions = reward_functions(model, weighted=weighted)
        assert [function(["Hi"], [TOO_LONG]) for function in functions] == [[None]] * 3
        functions = reward_functions(model, weighted=weighted, too_long=-5.0)
        values = np.array([function(["Hi", "Hi"], ["No.", TOO_LONG])[1] for function in functions])
        assert np.array(functions.weights) @ values == pytest.approx(-5.0)


def test_a_gates_weights_are_multiplied_in_or_refused():
    """Weights of every text in place of a gated model's: what is composed is the same, and K numbers cannot say it."""
    weights = np.array([[0.9, 0.1, 0.0], [0.1, 0.1, 0.8]], np.float32)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    scored = Scored(values, weights)
    functions = RewardFunctions("abc", (1, 1, 1), lambda prompts, completions: scored, weighted=True)
    total = np.sum([function(["p", "p"], ["a", "b"]) for function in functions], 0)
    assert total == pytest.approx(scored.rewards)
    gated = dataclasses.replace(tiny_reward_model.in_memory(), gate=object())
    with pytest.raises(InputError, match="others for every text.*weighted=True"):
        reward_functions(gated)


def test_verl_gets_the_composed_reward_and_each_rule_of_a_sample_or_a_batch(model, scores, forwards):
    functions = reward_functions(model, too_long=0.0)
    compute_score = verl_compute_score(functions)
    infos = [{"question": prompt, "index": i} for i, prompt in enumerate(PROMPTS)]
    batch = {"data_sources": ["x"] * 3, "solution_strs": COMPLETIONS, "ground_truths": [None] * 3}
    got = compute_score(**batch, extra_infos=infos)
    assert len(forwards) == 1
    assert [row["score"] for row in got] == pytest.approx((scores @ model.weights).tolist(), **CLOSE)
    assert [row["rule/privacy"] for row in got] == pytest.approx(scores[:, 1].tolist(), **CLOSE)
    one = compute_score("x", COMPLETIONS[1], None, extra_info=infos[1], reward_router_address=None)
    assert one == pytest.approx(got[1], **CLOSE) and list(one) == ["score", *(f"rule/{rule}" for rule in model.rules)]
    assert verl_settings(functions)[1] == '+algorithm.gdpo_reward_keys=["rule/violence","rule/privacy","rule/kindness"]'
    with pytest.raises(InputError, match="extra_info.*read_prompt"):
        compute_score("x", "No.", None, {"index": 1})
    with pytest.raises(InputError, match="a number for every completion.*too_long"):
        verl_compute_score(reward_functions(model))
    weighted = verl_compute_score(reward_functions(model, weighted=True, too_long=0.0))
    assert weighted(**batch, extra_infos=infos)[0]["score"] == pytest.approx(got[0]["score"], abs=1e-6)


def test_nemo_rl_gets_rules_and_weights_in_its_own_order(model, scores):
    functions = reward_functions(model)
    logs = [
        [{"role": "user", "content": prompt, "token_ids": [1]}, {"role": "assistant", "content": answer}]
        for prompt, answer in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    got = conversation_rewards(functions, logs)
    assert list(got) == sorted(model.rules) and got["privacy"] == pytest.approx(scores[:, 1], **CLOSE)
    assert np.array(nemo_rl_weights(functions)) @ list(got.values()) == pytest.approx(scores @ model.weights, **CLOSE)
    with pytest.raises(InputError, match="message log 1: does not end"):
        conversation_rewards(functions, [logs[0], logs[0][:1]])
    block = re.search(r"class RuleRewards.*?(?=```)", (ROOT / "docs/rl.md").read_text("utf-8"), re.DOTALL)[0]
    names = {"functions": functions, "conversation_rewards": conversation_rewards, "EnvironmentInterface": object}
    names |= {"EnvironmentReturn": lambda *parts: parts, "torch": SimpleNamespace(tensor=np.array, ones=np.ones)}
    exec(block, names)
    observations, metadata, _, rewards, ended, _ = names["RuleRewards"]().step(logs, [None] * 3)
    assert (
        len(observations) == len(metadata) == len(ended) == 3 and rewards["privacy"].tolist() == got["privacy"].tolist()
    )


MODELS = {"data": [{"id": "m", "rules": ["kind", "safe"], "weights": {"safe": 0.75, "kind": 0.25}}]}
SCORES = {"rewards": [1.0, None], "scores": {"safe": [1, None], "kind": [2, None]},
          "weights": {"kind": [0.25, 0.25], "safe": [0.75, 0.75]}}  # fmt: skip


def test_a_servers_rules_and_weights_come_with_one_request_a_batch():
    with RawServer(reply(MODELS), reply(SCORES)) as server:
        functions = remote_reward_functions(server.url, token="token-0123456789")
        assert (functions.rules, functions.weights) == (("kind", "safe"), (0.25, 0.75))
        got = [function(["a", "b"], ["c", "d"], completion_ids=[[1], [2]]) for function in functions]
    assert got == [[2.0, None], [1.0, None]] and len(server.requests) == 2
    assert server.requests[0].startswith(b"GET /v1/models ") and server.requests[1].startswith(b"POST /rewards ")
    assert [*bodies(server.requests[1:])] == [{"prompts": ["a", "b"], "completions": ["c", "d"], "rules": True}]
    with RawServer(reply({"data": [MODELS["data"][0] | {"weights": None}]})) as server:
        with pytest.raises(InputError, match="others for every text"):
            remote_reward_functions(server.url)
        assert remote_reward_functions(server.url, weighted=True).weights == (1.0, 1.0)


WRONG = {
    "no model": ([{"data": []}], "names no model"),
    "no rules": ([{"data": [{"rules": [], "weights": {}}]}], "names no model"),
    "rule twice": ([{"data": [{"rules": ["a", "a"], "weights": {"a": 1}}]}], "names no model"),
    "other shape": ([{"data": [{"rules": "kind", "weights": {}}]}], "expected `array`"),
    "weight missing": ([{"data": [{"rules": ["a", "b"], "weights": {"a": 1.0}}]}], "every rule a weight"),
    "old server": ([MODELS, {"rewards": [1.0, 2.0]}], "missing required field `scores`"),
    "other rules": ([MODELS, SCORES | {"scores": {"kind": [1, 2]}}], "scores are of other rules"),
    "too few": ([MODELS, SCORES | {"scores": {"kind": [1], "safe": [1, 2]}}], "1 scores of kind for 2"),
    "NaN": ([MODELS, SCORES | {"weights": {"kind": [1, float("nan")], "safe": [1, 2]}}], "of kind is not finite"),
    "text": ([MODELS, SCORES | {"scores": {"kind": ["1", 2], "safe": [1, 2]}}], "expected `float | null`"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_whatever_else_a_server_sends_is_one_line(name):
    answers, problem = WRONG[name]
    with RawServer(*map(reply, answers)) as server, pytest.raises(InputError, match=problem) as caught:
        remote_reward_functions(server.url)[0](["a", "b"], ["c", "d"])
    assert "\n" not in str(caught.value) and server.url in str(caught.value)


def test_what_no_batch_can_be_is_refused(model):
    functions = reward_functions(model)
    with pytest.raises(InputError, match="1 completions for 2"):
        functions[0](["a", "b"], ["c"])
    with pytest.raises(InputError, match="there is no rule 'kind'"):
        functions["kind"]
    with pytest.raises(InputError):
        functions[0]([np.zeros(2)], ["c"])
