"""What goes into the model next: everything if it fits, the oldest always, nothing twice, nothing cut."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.reward.scorer import batch_shapes
from encore_jax.serve.packing import next_batch

SHAPES = batch_shapes((16, 48), 192, 1)
waiting = st.lists(st.tuples(st.integers(1, 48), st.integers(0, 5)), min_size=1, max_size=150)


def batch_of(queue):
    # Texts of one group begin alike: most of their tokens are the group's number.
    sequences = [
        np.array([g] * (n * 4 // 5) + [100 + i] * (n - n * 4 // 5), np.int32) for i, (n, g) in enumerate(queue)
    ]
    return sequences, next_batch(sequences, [str(g) for _, g in queue], SHAPES, [len(s) for s in sequences])


@settings(deadline=None)
@given(waiting)
def test_a_batch_is_a_legal_layout_of_waiting_texts(queue):
    sequences, batch = batch_of(queue)
    assert batch.shape in SHAPES and len(batch.rows) <= batch.shape.rows
    assert all(sum(map(len, row)) <= batch.shape.length for row in batch.rows)
    trees = [tree for row in batch.rows for tree in row]
    keys = [key for tree in trees for key in tree.keys]
    assert len(set(keys)) == len(keys) and 0 in keys  # nobody twice, and the oldest at any rate
    for tree in trees:
        for key, branch in zip(tree.keys, tree.branches, strict=True):
            np.testing.assert_array_equal(np.concatenate([tree.prefix, branch]), sequences[key])


@settings(deadline=None)
@given(waiting)
def test_a_batch_that_leaves_texts_behind_is_of_the_largest_shape_and_cannot_take_them(queue):
    sequences, batch = batch_of(queue)
    keys = {key for row in batch.rows for tree in row for key in tree.keys}
    if len(keys) < len(queue):
        assert batch.shape == max((s for s in SHAPES if s.length == 48), key=lambda s: s.rows)
        assert sum(len(t) for row in batch.rows for t in row) > batch.shape.tokens / 2


@settings(deadline=None)
@given(waiting)
def test_working_off_a_queue_ends(queue):
    rounds = 0
    while queue:
        _, batch = batch_of(queue)
        keys = {key for row in batch.rows for tree in row for key in tree.keys}
        queue = [item for i, item in enumerate(queue) if i not in keys]
        rounds += 1
    assert rounds <= 150


def test_the_smallest_shape_that_holds_all():
    _, batch = batch_of([(10, 0)])
    assert tuple(batch.shape) == (1, 16)
    _, batch = batch_of([(10, 0), (12, 1)])
    assert tuple(batch.shape) == (2, 16)


def test_texts_of_one_prompt_share_it_whoever_asked():
    _, batch = batch_of([(20, 1), (20, 2), (20, 1)])
    assert sorted(tree.keys for row in batch.rows for tree in row) == [(0, 2), (1,)]
