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
def call(reward, tokens, positions, mask, segments=None):
    """As Tunix calls it, and the scores of every rule."""
    named = {"positions": positions, "attention_mask": mask, "segment_ids": segments}
    return reward(tokens, cache=None, **named), reward.scores(tokens, **named)


def padded(model, before: int, after: int, taken: int = 0):
    """Token ids with padding on both sides, as PPO has them; positions, mask, and where each conversation ends.

    `taken` tokens are missing at each end.
    """
    sequences = token_sequences(model.tokenizer, TEXTS, "last", model.tokenizer.pad_token_id)
    sequences = [sequence[: len(sequence) - taken] for sequence in sequences]
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


def test_several_conversations_share_a_row_where_segments_tell_them_apart(model, reward):
    tokens, positions, mask, end = padded(model, 2, 5)
    real = np.diagonal(mask, axis1=1, axis2=2)
    alone, _ = call(reward, tokens, positions, mask, real.astype(np.int32))  # Tunix names the padding twice
    np.testing.assert_array_equal(alone, call(reward, tokens, positions, mask)[0])
    packed = [np.concatenate([np.asarray(part)[row][real[row]] for row in (0, 1)]) for part in (tokens, positions)]
    segments = np.concatenate([np.full(real[row].sum(), row + 1) for row in (0, 1)])
    packed = [jnp.asarray(np.pad(row, (0, 4))[None], jnp.int32) for row in (*packed, segments)]
    together, _ = call(reward, *packed[:2], None, packed[2])
    ends = np.cumsum(real[:2].sum(1)) - 1
    np.testing.assert_allclose(together[0, ends, 0], alone[:2, end, 0], atol=3e-5)


@pytest.mark.parametrize(("before", "after"), [(0, 7), (7, 0), (2, 5)])
def test_an_ending_that_the_trainer_takes_away_is_added(model, reward, before, after):
    """Tunix generates until the end-of-turn token and leaves it out."""
    whole = token_sequences(model.tokenizer, TEXTS[:1], "last", None)[0]
    answer = model.tokenizer.decode(whole).index("No.") + len("No.")
    ending = len(whole) - len(model.tokenizer.encode(model.tokenizer.decode(whole)[:answer], add_special_tokens=False))
    assert ending > 0
    *rows, end = padded(model, before, after, taken=ending)
    rewards, scores = call(NnxReward(model, add_ending=True), *rows)
    expected = np.concatenate(model.scores([prompt for prompt, _ in TEXTS], [[answer] for _, answer in TEXTS]))
    for at in range(end, rows[0].shape[1]):  # the padding behind it, which is where Tunix looks if the answer is empty
        np.testing.assert_allclose(scores[:, at], expected, atol=3e-5)
        np.testing.assert_allclose(rewards[:, at, 0], expected @ model.weights, atol=3e-5)
    holes = np.asarray(rows[0]) != model.tokenizer.pad_token_id  # Tunix' mask; the padding token ends turns, too
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    assert not holes[:, before:end].all(1).any()
    mask = np.tri(holes.shape[1], dtype=bool) & holes[:, None, :]
    positions = jnp.asarray(np.maximum(np.cumsum(holes, 1) - 1, 0), jnp.int32)
    hidden = rows[0], positions, mask, holes.astype(np.int32)
    same, _ = call(NnxReward(model, add_ending=True), *hidden)
    np.testing.assert_allclose(same[:, end, 0], expected @ model.weights, atol=3e-5)
    plain, _ = call(reward, *rows)
    assert np.abs(np.asarray(plain[:, end, 0]) - expected @ model.weights).max() > 0.01
    real = np.diagonal(rows[2], axis1=1, axis2=2)[:, :end]
    np.testing.assert_allclose(np.asarray(rewards)[:, :end, 0][real], np.asarray(plain)[:, :end, 0][real], atol=3e-5)


def test_a_scale_is_a_factor_on_the_reward_alone(model, reward):
    *rows, _ = padded(model, 2, 5)
    (large, scores), (plain, same) = call(NnxReward(model, scale=1000.0), *rows), call(reward, *rows)
    np.testing.assert_allclose(large, 1000 * plain, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(scores, same)


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
    ones = jnp.ones((1, 2), jnp.int32)
    with pytest.raises(InputError, match="several conversations has no one ending.*leave add_ending out"):
        NnxReward(model, add_ending=True)(ones, ones, segment_ids=ones)
    for scale in (0, -1.0, float("nan"), "2"):
        with pytest.raises(InputError, match="scale.*positive number"):
            NnxReward(model, scale=scale)
    gate = object()
    with pytest.raises(InputError, match="depend on the prompt.*reward_function"):
        NnxReward(dataclasses.replace(model, gate=gate))


def causal(rows, width):
    return np.broadcast_to(np.tri(width, dtype=bool), (rows, width, width))


def arguments(rows=2, width=8, **changes):
    """A call's arguments, by name; without padding."""
    at = np.tile(np.arange(width, dtype=np.int32), (rows, 1))
    whole = {"tokens": np.full_like(at, 5), "positions": at, "attention_mask": causal(rows, width), "segment_ids": None}
    return whole | changes


ADDED = np.where(causal(2, 8), 0.0, -1e9).astype(np.float32)
WRONG_SHAPES = {
    "tokens": [np.zeros(shape, np.int32) for shape in ((8,), (2, 8, 1), (0, 8), (2, 0))],
    "positions": [np.zeros(shape, np.int32) for shape in ((2, 7), (1, 8), (8,))],
    "attention_mask": [np.ones(shape, bool) for shape in ((2, 8), (2, 9, 9), (1, 8, 8), (2, 1, 8, 8), (2, 9, 8))],
    "segment_ids": [np.ones((2, 7), np.int32), np.ones((1, 8), np.int32)],
}  # fmt: skip
WRONG_KINDS = {
    "tokens": [np.ones((2, 8), np.float32), np.ones((2, 8), bool)],
    "positions": [np.ones((2, 8), np.float32), np.ones((2, 8), bool)],
    "attention_mask": [ADDED, causal(2, 8).astype(np.float32)],
    "segment_ids": [np.ones((2, 8), np.float32)],
}
BAD = [(name, i, kind) for kind in (WRONG_SHAPES, WRONG_KINDS) for name, all_ in kind.items() for i in range(len(all_))]


@pytest.mark.parametrize("ending", [False, True])
@pytest.mark.parametrize(("name", "i", "kind"), BAD)
def test_arguments_that_do_not_fit_are_refused_by_name_inside_jit_too(model, name, i, kind, ending):
    """A mask that is added to logits would have hidden every token, and still there would be a reward."""
    made, given = NnxReward(model, add_ending=ending), arguments(**{name: kind[name][i]})
    for run in (lambda: made(**given), lambda: nnx.jit(lambda reward, given: reward(**given))(made, given)):
        with pytest.raises(InputError, match=f"^{name}: (have shape|are )"):
            run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": [[1, 2]]}, "tokens: got a list"),
        ({"positions": None}, "positions: got a NoneType"),
        ({"tokens": np.full((2, 8), -1)}, "tokens: -1 is no id: there are 258"),
        ({"tokens": np.full((2, 8), 258)}, "tokens: 258 is no id"),
        ({"segment_ids": np.full((2, 8), -1)}, "segment_ids: one is negative"),
        ({"attention_mask": np.ones((2, 8, 8), bool)}, "attention_mask: a token sees a later one"),
        ({"cache": {}}, "cache: a reward model keeps no cache"),
    ],
)
def test_values_that_make_no_sense_are_refused(reward, changes, said):
    with pytest.raises(InputError, match=said):
        reward(**arguments(**changes))


def test_rows_beyond_the_models_positions_are_refused(model, reward):
    ending = NnxReward(model, add_ending=True)
    most = model.cfg.max_positions
    with pytest.raises(InputError, match=f"rows of {most + 1} tokens, and the model's positions end at {most}"):
        jax.eval_shape(lambda given: reward(**given), arguments(1, most + 1))
    with pytest.raises(InputError, match=rf"rows of {most} tokens and \d of an ending"):
        jax.eval_shape(lambda given: ending(**given), arguments(1, most))
    jax.eval_shape(lambda given: reward(**given), arguments(1, most))
    several = arguments(1, most + 1, segment_ids=np.ones((1, most + 1), np.int32))
    jax.eval_shape(lambda given: reward(**given), several)  # several conversations, each of which may fit


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int16])
def test_any_whole_numbers_will_do(reward, dtype):
    run, given = nnx.jit(lambda reward, given: reward(**given)), arguments()
    changed = {name: given[name].astype(dtype) for name in ("tokens", "positions", "attention_mask")}
    np.testing.assert_array_equal(run(reward, given | changed), run(reward, given))


def test_gradients_reach_backbone_and_heads_and_are_finite(model):
    def total(reward, given):
        return reward(**given).sum()

    grads = nnx.jit(nnx.grad(total))(NnxReward(model, add_ending=True), arguments())
    leaves = jax.tree.leaves(grads)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in leaves) and sum(float(abs(leaf).sum()) for leaf in leaves) > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(({"scale": value}, "scale") for value in (0, -1, True, float("nan"), float("inf"), 1e300, "1", None)),
        ({"remat": "everything"}, "remat: is 'everything'"),
        ({"add_ending": 3}, "add_ending: is 3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, given, said):
    with pytest.raises(InputError, match=said):
        NnxReward(model, **given)
    with pytest.raises(InputError, match="NnxReward, model: got a str"):
        NnxReward("runs/quickstart")
