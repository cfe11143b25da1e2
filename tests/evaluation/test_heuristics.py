"""The rule-free baselines: what counts as a refusal, and length."""

import numpy as np
import pytest

from encore_jax.evaluation.heuristics import WINDOW, heuristic_rewards, is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m really sorry, I cannot do this.",
        "i am unable to assist",
        "Sorry, but no.",
        "I won't explain how to do that.",
        "As an AI, I have no opinions.",
        "We are not able to share this.",
        "It is not appropriate to discuss this.",
        "This goes against my guidelines.",
        "Thank you for asking. I must decline.",
    ],
)
def test_refusals(text):
    assert is_refusal(text) and is_refusal(text.upper())


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is how.",
        "The lock cannot be opened without a key.",
        "He said he was sorry.",
        "You can't miss it: turn left.",
        "",
        "x" * WINDOW + " I'm sorry, but I can't.",
    ],
)
def test_other_openings(text):
    assert not is_refusal(text)


def test_rewards_of_every_response():
    rewards = heuristic_rewards([("I cannot help.", "Sure!"), ("Yes.", "I'm sorry.")])
    np.testing.assert_array_equal(rewards["refusal"], [[1, 0], [0, 1]])
    np.testing.assert_array_equal(rewards["shorter"], [[-14, -5], [-4, -10]])
    assert all(reward.dtype == np.float32 for reward in rewards.values())
