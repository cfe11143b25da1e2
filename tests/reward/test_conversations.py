"""What callers hand to a reward model: texts and messages, and nothing that only looks like them."""

import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.reward.conversations import grouped_texts
from tests.experiments import tiny_reward_model

ASKED = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "No."}
EXPECTED = [((Message("user", "Hi"),), "No.")]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.mark.parametrize("prompt", ["Hi", [ASKED], (ASKED,), [Message("user", "Hi")], np.str_("Hi")])
@pytest.mark.parametrize("response", ["No.", [SAID], [Message("assistant", "No.")], np.str_("No.")])
def test_texts_and_messages_mean_the_same(prompt, response):
    assert grouped_texts([prompt], [[response]]) == EXPECTED


def test_arrays_and_tuples_are_lists_too():
    assert grouped_texts(np.array(["Hi"]), np.array([["No."]])) == grouped_texts(("Hi",), (("No.",),)) == EXPECTED


@pytest.mark.parametrize(
    ("prompts", "responses", "where"),
    [
        ("Hi", ["a", "b"], "prompts"),
        (None, [["a"]], "prompts"),
        (["Hi"], "a", "responses"),
        (["Hi"], None, "responses"),
        (["Hi"], ["abc"], r"responses\[0\]"),
        (["Hi"], [None], r"responses\[0\]"),
        (["Hi"], [SAID], r"responses\[0\]"),
        (["Hi"], [["a", None]], r"responses\[0\]\[1\]"),
        (["Hi"], [["a", float("nan")]], r"responses\[0\]\[1\]"),
        (["Hi"], [[b"a"]], r"responses\[0\]\[0\]"),
        (["Hi"], [["\ud800"]], r"responses\[0\]\[0\]"),
        (["Hi"], [[[ASKED]]], r"responses\[0\]\[0\]"),
        (["a", float("nan")], [["a"], ["a"]], r"prompts\[1\]"),
        ([None], [["a"]], r"prompts\[0\]"),
        ([b"a"], [["a"]], r"prompts\[0\]"),
        ([ASKED], [["a"]], r"prompts\[0\]"),
        ([["a"]], [["a"]], r"prompts\[0\]"),
        (["\ud800"], [["a"]], r"prompts\[0\]"),
        (["Hi"], [["a"], ["b"]], "scores"),
    ],
)
def test_what_is_no_text_is_named_and_never_scored(model, prompts, responses, where):
    for call in (model.scores, model.rewards):
        with pytest.raises(InputError, match=f"^{where}"):
            call(prompts, responses)


@pytest.mark.parametrize("weights", [None, [1, 0, 0], np.ones(3), 1.0])
def test_weights_have_names(model, weights):
    with pytest.raises(InputError, match="^weights: got a .* for each rule by its name"):
        model.weighted(weights)
