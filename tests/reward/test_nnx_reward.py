"""A reward model as Tunix calls it: padded token ids, positions and a mask; a reward at every token."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.reward.nnx_reward import NnxReward
from encore_jax.reward.sequences import token_sequences
from tests.experiments import tiny_reward_model

TEXTS = [
    ((Message("user", prompt),), answer)
    for prompt, answer in [("Hi", "No."), ("What is a lock?", "Sure, why not?"), ("Hi", "")]
]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def reward(model):
    return NnxReward(model)


@nnx.jit
def call(reward, tokens, positions, mask):
    """As Tunix calls it, and the scores of every rule."""
    return reward(tokens, positions=positions, cache=None, attention_mask=mask), reward.scores(tokens, positions, mask)


def padded(model, before: int, after: int):
    """Token ids with padding on both sides, as PPO has them; positions, mask, and where each conversation ends."""
    sequences = token_sequences(model.tokenizer, TEXTS, "last", model.tokenizer.pad_token_id)
    width = max(map(len, sequences))
    tokens = np.full((len(sequences), before + width + after), model.tokenizer.pad_token_id)
    real = np.zeros(tokens.shape, bool)
    for i, sequence in enumerate(sequences):
        start = before + width - len(sequence)
        tokens[i, start : before + width], real[i, start : before + width] = sequence, True
    mask = np.tri(tokens.shape[1], dtype=bool) & real[:, None, :]
    return jnp.asarray(tokens, jnp.int32), jnp.asarray(np.cumsum(real, 1) - 1, jnp.int32), mask, before + width - 1


@pytest.mark.parametrize(("before", "after"), [(0, 7), (7, 0), (2, 5)])
def test_the_reward_at_the_last_token_is_the_models(model, reward, before, after):
    *rows, end = padded(model, before, after)
    rewards, scores = call(reward, *rows)
    assert rewards.shape == (*rows[0].shape, 1) and rewards.dtype == jnp.float32
    texts = [[answer] for _, answer in TEXTS]
    expected = np.concatenate(model.scores([prompt for prompt, _ in TEXTS], texts))
    np.testing.assert_allclose(scores[:, end], expected, atol=3e-5)
    np.testing.assert_allclose(rewards[:, end, 0], expected @ model.weights, atol=3e-5)


def test_without_a_mask_every_token_counts(model, reward):
    tokens, positions, mask, _ = padded(model, 2, 5)
    causal = np.broadcast_to(np.tri(tokens.shape[1], dtype=bool), mask.shape)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    for a, b in zip(call(reward, tokens, positions, None), call(reward, tokens, positions, causal), strict=True):
        np.testing.assert_array_equal(a, b)


def test_backbone_and_heads_are_parameters_and_the_weights_are_not(model, reward):
    graph, parameters, rest = nnx.split(reward, nnx.Param, ...)
    assert set(nnx.to_pure_dict(parameters)) == {"backbone", "kernel", "bias"}
    assert [leaf.tolist() for leaf in jax.tree.leaves(rest)] == [pytest.approx(model.weights.tolist())]
    *rows, _ = padded(model, 2, 5)
    for a, b in zip(call(nnx.merge(graph, parameters, rest), *rows), call(reward, *rows), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_cannot_be_one_module_is_refused(model):
    with pytest.raises(InputError, match="keeps no cache.*leave it out"):
        NnxReward(model)(jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), jnp.int32), cache={})
    with pytest.raises(InputError, match="3 heads and 0 weights"):
        NnxReward(dataclasses.replace(model, passport=dataclasses.replace(model.passport, weights=(), weighting="")))
    gate = object()
    with pytest.raises(InputError, match="depend on the prompt.*reward_function"):
        NnxReward(dataclasses.replace(model, gate=gate))
