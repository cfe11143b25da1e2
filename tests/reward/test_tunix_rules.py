"""Every rule's rewards for Tunix' GRPO learner: what its manager and its estimator hand on, without Tunix."""

import numpy as np
import pytest

from encore_jax.composition.advantages import group_advantages
from encore_jax.errors import InputError
from encore_jax.reward.rule_rewards import RewardFunctions, reward_functions
from encore_jax.reward.scored import Scored
from encore_jax.reward.tunix_rules import tunix_rules
from tests.experiments import tiny_reward_model

PROMPTS = ["Hi"] * 3 + ["What is a lock?"] * 3
COMPLETIONS = ["No.", "Sure, why not?", "", "A thing.", "x" * 300, "No."]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


def run(rules, **columns):
    """As Tunix' learner does it; rewards, advantages, and what is logged of two batches of a step."""
    manager = rules.reward_manager(reward_fns=[], algo_config=None)
    given = manager(prompts=PROMPTS, completions=COMPLETIONS, mode="train", **columns)
    advantages = rules.advantage_estimator(rewards=given["rewards"], num_generations=3)
    logged = {name: operation([value, value]) for name, (value, operation) in given["log_metrics"].items()}
    return given["rewards"], advantages, logged


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("grpo", {}),
        ("grpo", {"divide": False}),
        ("gdpo", {}),
        ("gdpo", {"convention": "trl"}),
        ("constraints", {"thresholds": [0.0, -np.inf, 1.0]}),
    ],
)
def test_advantages_are_those_of_the_rules_and_their_weights(model, method, options):
    functions = reward_functions(model)
    rewards, advantages, _ = run(tunix_rules(functions, method, **options), trajectory_ids=["0_0"] * 6)
    scored = functions.scored(PROMPTS, COMPLETIONS)
    np.testing.assert_array_equal(rewards, scored.scores)
    expected = group_advantages(rewards.reshape(2, 3, 3), model.weights, method, **{"convention": "tunix"} | options)
    np.testing.assert_array_equal(advantages, np.asarray(expected).ravel())
    assert functions.batches == 1 and np.isfinite(advantages).all() and np.ptp(advantages) > 0


def test_a_completion_without_a_reward_has_no_advantage_and_moves_no_mean(model):
    rewards, advantages, logged = run(tunix_rules(reward_functions(model), "grpo"))
    assert np.isnan(rewards[4]).all() and advantages[4] == 0
    assert advantages[[3, 5]] == pytest.approx(np.sign(advantages[3]) * np.array([0.5**0.5, -(0.5**0.5)]), abs=1e-4)
    assert logged["rewards/kindness"] == pytest.approx(np.nanmean(rewards[:, 2]), abs=1e-5)
    assert logged["rewards/composed"] == pytest.approx(np.nanmean(rewards @ model.weights), abs=1e-5)
    rewards, advantages, _ = run(tunix_rules(reward_functions(model, too_long=-5.0), "grpo"))
    assert (rewards[4] == -5).all() and advantages[4] < 0


def test_a_step_without_any_reward_is_logged_as_none():
    nothing = Scored(np.full((6, 2), np.nan, np.float32), np.full((6, 2), 0.5, np.float32))
    functions = RewardFunctions("ab", (0.5, 0.5), lambda prompts, completions: nothing)
    _, advantages, logged = run(tunix_rules(functions))
    assert not advantages.any() and np.isnan(list(logged.values())).all()


def test_what_cannot_be_meant_is_refused_before_training(model):
    with pytest.raises(InputError, match="GDPO divides the weights.*weighted=True out"):
        tunix_rules(reward_functions(model, weighted=True), "gdpo")
    with pytest.raises(InputError, match="method"):
        tunix_rules(reward_functions(model), "ppo")
    with pytest.raises(InputError, match="thresholds"):
        tunix_rules(reward_functions(model), "constraints")
    with pytest.raises(InputError, match="has no thresholds"):
        tunix_rules(reward_functions(model), "gdpo", thresholds=[0.0])


@pytest.mark.parametrize("rewards", [np.arange(8.0), np.ones((5, 2)), np.ones((8, 5))])
def test_rewards_that_are_not_by_rule_are_refused(model, rewards):
    rules = tunix_rules(reward_functions(model), "gdpo")
    with pytest.raises(InputError, match="shape .*rules and groups of 2. Fix: register"):
        rules.advantage_estimator(rewards=rewards, num_generations=2)
