"""The plan of a run: every tree once per epoch, rows nearly full, resumable anywhere."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.errors import InputError
from encore_jax.train.packing import Shape, count_steps, packed_steps, step_shape
from encore_jax.train.settings import BatchSettings
from tests.train.tiny_training import PROMPTS, batches, settings, targets


def tree(size, branches=2):
    each = max(1, size // (branches + 1))
    prefix = np.zeros(size - each * branches, np.int32)
    return PrefixTree(prefix, tuple(np.zeros(each, np.int32) for _ in range(branches)), tuple(range(branches)))


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(4, 64), min_size=1, max_size=60),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_every_tree_appears_once_per_epoch_and_nothing_overflows(sizes, micro_batches, rows, epochs, seed):
    shape = Shape(micro_batches, rows, 64, 7)
    trees = [tree(size) for size in sizes]
    seen = []
    for step in packed_steps(trees, shape, seed, epochs):
        assert 1 <= len(step) <= micro_batches
        in_step = []
        for rows_of in step:
            assert len(rows_of) == rows
            assert all(sum(sizes[i] for i in row) <= 64 for row in rows_of)
            assert sum(2 for row in rows_of for _ in row) <= 7
            in_step += [i for row in rows_of for i in row]
        assert in_step and len(set(in_step)) == len(in_step)
        seen += in_step
    assert len(seen) == epochs * len(sizes)
    for epoch in range(epochs):
        assert sorted(seen[epoch * len(sizes) : (epoch + 1) * len(sizes)]) == list(range(len(sizes)))


def test_epochs_and_seeds_have_orders_of_their_own():
    trees, shape = [tree(20) for _ in range(50)], Shape(1, 1, 64, 8)

    def order(seed):
        return [i for step in packed_steps(trees, shape, seed, 2) for rows in step for row in rows for i in row]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0)[:50] != order(0)[50:]


def test_rows_are_nearly_full():
    sizes = np.random.default_rng(0).gamma(2.0, 120.0, 2000).astype(int).clip(16, 1024)
    steps, efficiency = count_steps(packed_steps([tree(size) for size in sizes], Shape(1, 2, 1024, 64), 0, 1))
    assert efficiency > 0.93
    assert steps == pytest.approx(sizes.sum() / 2048, rel=0.08)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_iterator_resumes_anywhere_through_json(accumulate):
    config = settings(accumulate=accumulate)
    whole = list(batches(config, epochs=3))
    assert len(whole) > 5
    for cut in range(len(whole)):
        stream = iter(batches(config, epochs=3))
        for _ in range(cut):
            next(stream)
        state = json.loads(json.dumps(stream.get_state()))
        resumed = iter(batches(config, epochs=3))
        resumed.set_state(state)
        rest = list(resumed)
        assert len(rest) == len(whole) - cut
        for a, b in zip(rest, whole[cut:], strict=True):
            np.testing.assert_array_equal(a.trees.tokens, b.trees.tokens)
            np.testing.assert_array_equal(a.trees.key, b.trees.key)
            np.testing.assert_array_equal(a.ratings, b.ratings)


@pytest.mark.parametrize("shape", [Shape(1, 1, 64, 6), Shape(2, 2, 32, 5)])
def test_a_plan_resumes_anywhere_within_an_epoch_larger_than_its_window(shape):
    """A window holds a few of the 40 trees: most states lie within an epoch, with trees waiting and others undrawn."""
    rng = np.random.default_rng(3)
    trees = [tree(size) for size in rng.integers(4, 30, 40)]
    whole = list(packed_steps(trees, shape, 0, 2))
    stream, states = iter(packed_steps(trees, shape, 0, 2)), []
    for expected in whole:
        states.append((stream.get_state(), json.dumps(stream.get_state())))
        assert next(stream) == expected
    assert len(whole) > 12 and sum(1 < len(state["waiting"]) < 30 for state, _ in states) > len(whole) / 2
    resumed = iter(packed_steps(trees, shape, 0, 2))
    for cut, (state, text) in enumerate(states):
        assert json.loads(text) == json.loads(json.dumps(state)), "a state must not change with its iterator"
        resumed.set_state(state if cut % 2 else json.loads(text))
        assert list(resumed) == whole[cut:]
        assert json.loads(text) == json.loads(json.dumps(state)), "nor with the one that goes on from it"


def test_the_tree_that_has_waited_longest_is_laid_out_first():
    """A tree that fits no room that is left heads the next step: nobody is put off for long."""
    sizes = np.random.default_rng(4).integers(4, 64, 200)
    shape = Shape(1, 2, 64, 8)
    drawn = {number: i for i, number in enumerate(n for step in packed_steps([tree(4)] * 200, Shape(1, 1, 4, 2), 0, 1)
                                                  for [[n]] in step)}  # fmt: skip
    waiting = sorted(range(200), key=drawn.get)
    for [rows] in packed_steps([tree(size) for size in sizes], shape, 0, 1):
        in_step = [number for row in rows for number in row]
        assert waiting[0] in in_step
        window = np.cumsum([sizes[number] for number in waiting])
        assert max(waiting.index(number) for number in in_step) <= np.searchsorted(window, 3 * 2 * 64)
        waiting = [number for number in waiting if number not in in_step]
    assert not waiting


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_rating_and_every_pair_is_trained_on_once_in_an_epoch(accumulate):
    """Of the first text as of every other; a pair with its margin, its better end first."""
    ratings, margins, known = {}, {}, targets()
    for step in batches(settings(accumulate=accumulate)):
        for a in range(accumulate):
            batch = jax.tree.map(lambda x, a=a: x[a], step)
            for key, values, rated in zip(batch.trees.key, batch.ratings, batch.rated, strict=True):
                assert key >= 0 or not rated.any()
                assert int(key) not in ratings, "only once"
                ratings |= {int(key): (values, rated)} if key >= 0 else {}
            for slot in np.flatnonzero(batch.paired):
                pair = tuple(int(batch.trees.key[end[slot]]) for end in (batch.better, batch.worse))
                assert pair not in margins, "only once"
                margins[pair] = batch.margin[slot]
    assert sorted(ratings) == list(range(2 * PROMPTS))
    for key, (values, rated) in ratings.items():
        np.testing.assert_array_equal(rated, known.rated[key])
        np.testing.assert_array_equal(values[rated], known.ratings[key][rated])
    assert margins == {tuple(pair): margin for pair, margin in zip(known.pairs.tolist(), known.margin, strict=True)}


def test_counting_stops_where_training_will():
    trees, shape = [tree(30) for _ in range(40)], Shape(1, 1, 64, 8)
    assert count_steps(packed_steps(trees, shape, 0, 3))[0] == 60
    assert count_steps(packed_steps(trees, shape, 0, 3), most=7)[0] == 7


def test_efficiency_is_useful_tokens_per_processed_token():
    trees = [tree(30)] * 4 + [tree(61)]
    steps, efficiency = count_steps(packed_steps(trees, Shape(1, 2, 64, 8), 0, 1))
    assert steps == 2 and efficiency == (4 * 30 + 61) / (2 * 2 * 64)
    steps, efficiency = count_steps(packed_steps(trees, Shape(2, 1, 64, 8), 0, 1))
    assert steps == 2 and efficiency == (4 * 30 + 61) / (2 * 2 * 64)


@pytest.mark.parametrize(
    ("trees", "message"),
    [([], "nothing to train on"), ([tree(65)], "tree 0"), ([tree(20), tree(40, branches=9)], "tree 1")],
)
def test_what_does_not_fit_is_refused(trees, message):
    with pytest.raises(InputError, match=message):
        packed_steps(trees, Shape(1, 1, 64, 8), 0, 1)


@pytest.mark.parametrize("bad", [dict(rows=3, accumulate=2), dict(rows=0), dict(length=0), dict(accumulate=0)])
def test_impossible_shapes_are_refused(bad):
    with pytest.raises(InputError, match="training batch"):
        step_shape(BatchSettings(**bad))
