"""Rewards that abstain, as trainers get them: by the composed reward or by rule, in the process or from a server."""

import json

import numpy as np
import pytest

from encore_jax.composition.conformal import Bands
from encore_jax.errors import InputError
from encore_jax.reward.abstain import POLICIES, Policy
from encore_jax.reward.intervals import Bounds, Intervals
from encore_jax.reward.rl import remote_reward_function, reward_function
from encore_jax.reward.rule_rewards import remote_reward_functions, reward_functions
from encore_jax.rules.graph import RuleGraph, Veto
from tests.experiments import tiny_reward_model
from tests.raw_server import RawServer, reply
from tests.reward.test_intervals import rated

PROMPTS = ["Hi", "Hi", "What is a lock?", "Hi"]
COMPLETIONS = ["No.", "Sure, why not?", "", "x" * 300]
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=500).astype(np.float32)
BOUNDS = Bounds(VALUES, VALUES - np.float32(0.5), VALUES + np.float32(0.5))


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory().calibrated(rated(prompts=60))


def called(function, **columns):
    return function(prompts=PROMPTS, completions=COMPLETIONS, **columns)


def test_policies_are_what_they_say():
    assert np.array_equal(Policy("lower").values(BOUNDS, (0, 0)), BOUNDS.lower)
    assert np.array_equal(Policy("clip").values(BOUNDS, (-0.25, 0.75)), VALUES.clip(-0.25, 0.75))
    masked = Policy("mask", 0.25).values(BOUNDS, (0, 0))
    near = np.abs(VALUES - 0.25) <= 0.5
    assert np.array_equal(np.isnan(masked), near) and np.array_equal(masked[~near], VALUES[~near])
    unknown = Bounds(VALUES, np.full(500, -np.inf), np.full(500, np.inf))
    for kind, threshold in (("lower", None), ("mask", 9.0)):
        assert np.isnan(Policy(kind, threshold).values(unknown, (0, 0))).all()
    assert np.array_equal(Policy("clip").values(unknown, (-9, 9)), VALUES)


def test_a_mask_keeps_only_rewards_whose_side_of_the_threshold_is_known_as_often_as_promised():
    rng = np.random.default_rng(1)
    ratings = rng.normal(size=20_000)
    scores = ratings + rng.normal(size=20_000)
    radius = np.quantile(np.abs(scores - ratings), 0.9)
    kept = Policy("mask", 0.0).values(Bounds(scores, scores - radius, scores + radius), (0, 0))
    sure = ~np.isnan(kept)
    wrong = (np.sign(scores[sure]) != np.sign(ratings[sure])).sum() / len(ratings)
    assert 0.05 < sure.mean() < 0.95 and wrong <= 0.1 < (np.sign(scores) != np.sign(ratings)).mean()


def test_the_composed_reward_under_every_policy(model):
    rewards = np.array(called(reward_function(model))[:3])
    bounds = model.intervals.of_rewards(rewards)
    low, high = model.intervals.reward_range
    assert called(reward_function(model, policy="lower")) == [*bounds.lower.astype(float), None]
    assert called(reward_function(model, policy="clip", too_long=-5.0)) == [*rewards.clip(low, high), -5.0]
    threshold = float(bounds.upper.max()) + 1  # all are known to be below
    assert called(reward_function(model, policy="mask", threshold=threshold)) == [*rewards, None]
    logged = {}
    masked = reward_function(model, policy="mask", threshold=float(rewards[0]), abstain=0.0)
    got = called(masked, log_metric=logged.__setitem__)
    held = (bounds.lower <= rewards[0]) & (bounds.upper >= rewards[0])
    assert got == [*np.where(held, 0.0, rewards), None] and got[0] == 0.0
    assert logged["abstained"] == pytest.approx(held.mean()) and "rule/privacy" in logged


def test_each_rule_under_every_policy(model):
    scores = np.array([function(PROMPTS, COMPLETIONS) for function in reward_functions(model)], float).T[:3]
    bounds, ranges = model.intervals.of_scores(scores), model.intervals.ranges
    for kind, expected in (("lower", bounds.lower), ("clip", scores.clip(*ranges.T))):
        functions = reward_functions(model, policy=kind)
        got = np.array([function(PROMPTS, COMPLETIONS) for function in functions], float).T
        assert np.allclose(got[:3], expected) and np.isnan(got[3]).all() and functions.batches == 1
        assert functions.weights == pytest.approx(tiny_reward_model.WEIGHTS)
    threshold = float(scores[0, 0])
    held = (bounds.lower <= threshold) & (threshold <= bounds.upper)
    got = reward_functions(model, policy="mask", threshold=threshold, too_long=-2.0)
    table = np.array([function(PROMPTS, COMPLETIONS) for function in got], float).T
    assert np.array_equal(np.isnan(table[:3]), held) and (table[3] == -2.0).all() and held[0, 0]
    assert got.composed(PROMPTS, COMPLETIONS)[0] is None
    zero = reward_functions(model, policy="mask", threshold=threshold, abstain=0.0)
    assert np.array([f(PROMPTS[:3], COMPLETIONS[:3]) for f in zero]).T == pytest.approx(np.where(held, 0, scores))
    assert zero.composed(PROMPTS, COMPLETIONS)[3] is None


def test_lower_takes_the_worse_end_of_a_rule_with_a_negative_weight(model):
    turned = model.weighted({"violence": 1.0, "privacy": -1.0})
    bounds = turned.scores(PROMPTS[:1], [COMPLETIONS[:1]], intervals=True)[0]
    functions = reward_functions(turned, policy="lower", weighted=True)
    got = [function(PROMPTS[:1], COMPLETIONS[:1])[0] for function in functions]
    assert got == pytest.approx([bounds.lower[0, 0], -bounds.upper[0, 1], 0.0], abs=1e-5)


def test_what_no_policy_can_do_is_refused(model):
    plain = tiny_reward_model.in_memory()
    for make in (reward_function, reward_functions):
        with pytest.raises(InputError, match="nobody has calibrated"):
            make(plain, policy="lower")
        with pytest.raises(InputError, match="'upper' is unknown.*lower, clip, mask"):
            make(model, policy="upper")
        for bad in (None, float("nan"), "0.5", True):
            with pytest.raises(InputError, match="threshold"):
                make(model, policy="mask", threshold=bad)
        for given in ({"policy": "lower"}, {}):
            with pytest.raises(InputError, match=r"threshold: .*(does not read|nothing reads)"):
                make(model, threshold=0.5, **given)
    graphed = model.with_graph(RuleGraph(vetoes=(Veto("privacy", 0.9, 0.0),)))
    with pytest.raises(InputError, match="under a graph"):
        reward_functions(graphed, policy="lower")
    assert called(reward_function(graphed, policy="lower"))[0] is not None
    assert set(POLICIES) == {"lower", "clip", "mask"}


FOUND = Intervals(
    0.9, ("kind", "safe"), (Bands(np.array([0.5]), np.array([0.1, np.inf]), np.array([60, 60])),
                            Bands(np.zeros(0), np.array([0.25]), np.array([30]))),
    Bands(np.zeros(0), np.array([0.5]), np.array([30])), np.array([[0.0, 1.0], [0.25, 0.75]]), (0.25, 1.0), ("a note",),
    False,
)  # fmt: skip
MODELS = {"data": [{"rules": ["kind", "safe"], "weights": {"kind": 0.5, "safe": 0.5}, "intervals": FOUND.facts()}]}
SCORES = {"rewards": [1.0, None], "scores": {"kind": [0.75, None], "safe": [1.0, None]},
          "weights": {"kind": [0.5, 0.5], "safe": [0.5, 0.5]}}  # fmt: skip


def test_a_servers_model_abstains_the_same_way():
    asked = {"prompts": ["a", "b"], "completions": ["c", "d"]}
    with RawServer(reply(MODELS), reply({"rewards": [2.0, None]})) as server:
        assert remote_reward_function(server.url, policy="lower", too_long=-1.0)(**asked) == [1.5, -1.0]
    with RawServer(reply(MODELS), reply({"rewards": [2.0, None]})) as server:
        assert remote_reward_function(server.url, policy="clip")(**asked) == [1.0, None]
    with RawServer(reply(MODELS), reply({"rewards": [2.0, 0.75]})) as server:
        assert remote_reward_function(server.url, policy="mask", threshold=1.0)(**asked) == [2.0, None]
    with RawServer(reply(MODELS), reply(MODELS), reply(SCORES)) as server:
        functions = remote_reward_functions(server.url, policy="lower", abstain=-3.0)
        assert [function(**asked) for function in functions] == [[-3.0, None], [0.75, None]]
    with RawServer(reply({"data": [MODELS["data"][0] | {"intervals": None}]})) as server:
        with pytest.raises(InputError, match="nobody has calibrated"):
            remote_reward_function(server.url, policy="lower")


def test_intervals_of_a_server_are_those_of_the_model(model):
    facts = json.loads(json.dumps(model.intervals.facts()))
    again = Intervals.from_facts(facts, model.rules, "here")
    table = VALUES[:300].reshape(100, 3)
    pairs = [
        (model.intervals.of_rewards(VALUES), again.of_rewards(VALUES)),
        (model.intervals.of_scores(table), again.of_scores(table)),
    ]
    for mine, theirs in pairs:
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert again.facts() == model.intervals.facts()


@pytest.mark.parametrize(("change", "problem"), [
    ({"edges": [0.5, 0.5], "radius": [1, 1, 1], "prompts": [9, 9, 9]}, "edges must increase"),
    ({"radius": []}, "edges must increase"),
    ({"radius": [-1.0]}, "edges must increase"),
    ({"prompts": [1, 2]}, "edges must increase"),
    ({"range": [1.0, 0.0]}, "edges must increase"),
    ({"range": [1.0]}, "expected"),
    ({"radius": ["x"]}, "expected"),
])  # fmt: skip
def test_other_things_that_a_server_calls_intervals_are_one_line(change, problem):
    wrong = MODELS["data"][0] | {"intervals": FOUND.facts() | {"reward": FOUND.facts()["reward"] | change}}
    with RawServer(reply({"data": [wrong]})) as server, pytest.raises(InputError, match=problem) as caught:
        remote_reward_function(server.url, policy="lower")
    assert "\n" not in str(caught.value) and server.url in str(caught.value)


@pytest.mark.parametrize("make", [reward_function, reward_functions])
@pytest.mark.parametrize("name", ["too_long", "abstain"])
@pytest.mark.parametrize("value", ["x", float("nan"), float("inf"), True, [0.0]])
def test_what_stands_in_for_a_reward_is_a_number(model, make, name, value):
    with pytest.raises(InputError, match=f"{name}: is .* Fix: give a number, or None"):
        make(model, policy="lower", **{name: value})


def test_what_no_policy_can_ask_for_is_refused(model):
    for make in (reward_function, reward_functions):
        with pytest.raises(InputError, match="abstain: nothing reads it"):
            make(model, abstain=0.0)
    assert Policy("mask", np.int64(1)).threshold == 1
