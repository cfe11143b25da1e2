"""Scores through static shapes: equal to each text alone, whatever is packed beside it, on however many devices."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.composition import compose
from encore_jax.data.comparison import Message
from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.errors import InputError
from encore_jax.reward.scorer import Scorer, batch_shapes, grouped_trees
from tests.experiments import tiny_reward_model

PROMPTS = ["Hi", "What is a lock?", "Qu'est-ce que c'est?", "Hi!"]
ANSWERS = ["No.", "Sure, take a pick and turn it.", "I cannot help with that; ask a locksmith.", "Nono.", "No."]
TEXTS = [((Message("user", p),), a) for p, a in itertools.product(PROMPTS, ANSWERS)]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def scorer(model):
    return Scorer(model, tokens_per_batch=1024, devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def scores(scorer):
    return scorer.run_texts(TEXTS)


@pytest.mark.parametrize("pooling", ["last", "hf"])
def test_equal_to_every_text_alone(pooling):
    model = tiny_reward_model.in_memory(pooling=pooling)
    got = Scorer(model, tokens_per_batch=1024, devices=jax.devices()[:1]).run_texts(TEXTS)
    assert got.dtype == np.float32 and np.ptp(got, axis=0).min() > 0.1
    np.testing.assert_allclose(got, tiny_reward_model.scores_alone(model, TEXTS), atol=2e-5)


def test_a_reward_model_scores_prompt_by_prompt(model, scores):
    got = model.scores(PROMPTS, [ANSWERS] * len(PROMPTS))
    assert [part.shape for part in got] == [(len(ANSWERS), 3)] * len(PROMPTS)
    np.testing.assert_allclose(np.concatenate(got), scores, atol=2e-5)
    with pytest.raises(InputError, match="more than 256"):
        model.scores(["x" * 300], [["No."]])


def test_equal_on_all_devices(model, scores):
    everywhere = Scorer(model, tokens_per_batch=1024)
    assert len(jax.local_devices()) == 8 and all(shape.rows % 8 == 0 for shape in everywhere.shapes)
    np.testing.assert_allclose(everywhere.run_texts(TEXTS), scores, atol=2e-5)


def test_rewards_are_composed(model, scorer, scores):
    np.testing.assert_allclose(scorer.scored(scores).rewards, compose(scores, model.weights), atol=1e-6)


def test_too_long_is_nan_and_harms_nobody(scorer, scores):
    long = ((Message("user", "x" * 1000),), "No.")
    got = scorer.run_texts([TEXTS[0], long, TEXTS[1]])
    np.testing.assert_allclose(got[[0, 2]], scores[:2], atol=2e-5)
    assert np.isnan(got[1]).all()


def test_nothing_is_compiled_after_warming_up(model):
    scorer = Scorer(model, tokens_per_batch=256, devices=jax.devices()[:1])
    scorer.warm_up()
    compiled = scorer._program.values._cache_size()
    assert compiled >= len(scorer.shapes)
    for count in (1, 2, 7, len(TEXTS)):
        scorer.run_texts(TEXTS[:count])
    assert scorer._program.values._cache_size() == compiled


def test_scores_that_are_not_finite_are_refused(model):
    broken = tiny_reward_model.in_memory()
    broken.bias[1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        Scorer(broken, devices=jax.devices()[:1]).run_texts(TEXTS[:2])


@given(st.lists(st.integers(1, 600), min_size=1, max_size=4, unique=True), st.integers(1, 5000), st.integers(1, 8))
def test_shapes_hold_a_row_per_device_and_no_more_tokens_than_asked_for(buckets, tokens, devices):
    shapes = batch_shapes(buckets, tokens, devices)
    assert [s.tokens for s in shapes] == sorted(s.tokens for s in shapes)
    for length in buckets:
        rows = [s.rows for s in shapes if s.length == length]
        assert rows[0] == devices and all(r % devices == 0 for r in rows)
        assert all(r == devices or r * length <= tokens for r in rows)


@settings(deadline=None)
@given(st.lists(st.integers(1, 256), max_size=60))
def test_a_plan_holds_every_tree_once(model, sizes):
    trees = [PrefixTree(np.zeros(0, np.int32), (np.ones(n, np.int32),), (i,)) for i, n in enumerate(sizes)]
    scorer = Scorer.__new__(Scorer)
    scorer.shapes = batch_shapes((64, 256), 512, 2)
    seen = []
    for shape, rows in scorer.plan(trees):
        assert shape in scorer.shapes and len(rows) <= shape.rows
        assert all(sum(map(len, row)) <= shape.length for row in rows)
        seen += [tree.keys[0] for row in rows for tree in row]
    assert sorted(seen) == list(range(len(sizes)))


def test_groups_share_their_prefix():
    sequences = [np.array(s, np.int32) for s in ([1, 2, 3], [7, 8], [1, 2, 4])]
    trees = grouped_trees(sequences, ["a", "b", "a"], [10, 11, 12], 100)
    assert [tree.keys for tree in trees] == [(10, 12), (11,)] and len(trees[0]) == 4
