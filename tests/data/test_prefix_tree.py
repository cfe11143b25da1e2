"""Packed prefix trees: every sequence is there, whole, once, and sees exactly itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.data.prefix_tree import (
    ENDS_MULTIPLE,
    common_prefix_length,
    lay_out,
    make_trees,
    pack_rows,
    tree_batches,
)
from encore_jax.errors import InputError

BUCKETS = (16, 40)
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=12)  # few tokens, so that prefixes are shared by chance too
prompts = st.lists(st.tuples(tokens, st.lists(tokens, min_size=1, max_size=5)), min_size=1, max_size=8)


def sequences_of(prompts):
    return [[np.array(prefix + answer, np.int32) for answer in answers] for prefix, answers in prompts]


def trees_of(groups, max_length=BUCKETS[-1]):
    trees, start = [], 0
    for group in groups:
        trees += make_trees(group, range(start, start + len(group)), max_length)
        start += len(group)
    return trees


def path_to(batch, row, index):
    """Indices that token `index` may see, by the rule as DESIGN states it."""
    tree, branch = batch.tree[row], batch.branch[row]
    return [k for k in range(index + 1) if tree[k] == tree[index] and branch[k] in (0, branch[index])]


@settings(max_examples=60, deadline=None)
@given(prompts, st.integers(1, 120))
def test_every_sequence_is_read_back_from_the_packed_rows(prompts, tokens_per_batch):
    groups = sequences_of(prompts)
    sequences = [sequence for group in groups for sequence in group]
    found = {}
    for batch in tree_batches(trees_of(groups), BUCKETS, tokens_per_batch):
        assert all(array.dtype == np.int32 for array in batch)
        for row, index, key in zip(batch.end_row, batch.end_index, batch.key, strict=True):
            if key < 0:
                assert (row, index, key) == (0, 0, -1)
                continue
            path = path_to(batch, row, index)
            assert key not in found
            found[int(key)] = batch.tokens[row, path]
            np.testing.assert_array_equal(batch.position[row, path], np.arange(len(path)))
            after = index + 1  # the end is the last token of its branch
            assert after == batch.tree.shape[1] or (batch.tree[row, after], batch.branch[row, after]) != (
                batch.tree[row, index],
                batch.branch[row, index],
            )
    assert sorted(found) == list(range(len(sequences)))
    for key, sequence in enumerate(sequences):
        np.testing.assert_array_equal(found[key], sequence)


def test_rows_may_be_a_multiple_of_the_devices():
    trees = trees_of([[list(range(5)), list(range(6))]] * 7)
    for multiple, rows in ((1, 2), (2, 2), (3, 3), (8, 8)):
        shapes = {batch.tokens.shape for batch in tree_batches(trees, (16,), 32, multiple)}
        assert shapes == {(rows, 16)}


@settings(max_examples=60, deadline=None)
@given(prompts, st.integers(1, 120))
def test_shapes_are_static_and_rows_hold_whole_trees(prompts, tokens_per_batch):
    trees = trees_of(sequences_of(prompts))
    ends, lengths = {}, []
    for batch in tree_batches(trees, BUCKETS, tokens_per_batch):
        rows, length = batch.tokens.shape
        assert length in BUCKETS and rows == max(1, tokens_per_batch // length)
        assert {array.shape for array in batch[:4]} == {(rows, length)}
        assert ends.setdefault(length, batch.key.shape) == batch.key.shape
        assert batch.key.size % ENDS_MULTIPLE == 0
        for tree in batch.tree:
            count = tree.max()
            used = np.flatnonzero(tree)
            np.testing.assert_array_equal(used, np.arange(used.size))  # no gap between trees
            assert (np.diff(tree[used]) >= 0).all() and set(tree[used]) == set(range(1, count + 1))
            lengths += [int((tree == t).sum()) for t in range(1, count + 1)]
        padding = batch.tree == 0
        assert not (batch.tokens[padding].any() or batch.branch[padding].any() or batch.position[padding].any())
    assert sorted(lengths) == sorted(map(len, trees))


@settings(max_examples=60, deadline=None)
@given(prompts)
def test_the_prefix_is_stored_once(prompts):
    for group in sequences_of(prompts):
        shared = common_prefix_length(group)
        first = group[0]
        assert all(len(s) > shared and (s[:shared] == first[:shared]).all() for s in group)
        longer = [s for s in group if len(s) > shared + 1]
        assert len(longer) < len(group) or any(s[shared] != first[shared] for s in group) or len(group) == 0
        (tree,) = make_trees(group, range(len(group)), 10_000)
        assert len(tree) == shared + sum(len(s) - shared for s in group)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_first_fit_leaves_no_room_that_a_later_row_could_have_used(sizes):
    trees = trees_of([[np.zeros(size, np.int32)] for size in sizes])
    for rows in pack_rows(trees, [40]):
        room = [40 - sum(map(len, row)) for row in rows]
        assert min(room) >= 0
        for i, row in enumerate(rows):
            assert all(room[j] < len(tree) for tree in row for j in range(i))
    assert len(rows) <= 11 / 9 * -(-sum(sizes) // 40) + 1 or max(sizes) > 20  # first-fit decreasing's bound, loosely


def test_packing_wastes_little_on_realistic_lengths():
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(4.5, 0.8, 2000).astype(int), 5, 512)
    trees = trees_of([[np.zeros(size, np.int32)] for size in sizes], 512)
    laid = sum(batch.tokens.size for batch in tree_batches(trees, (256, 512), 2048))
    assert sum(sizes) / laid > 0.97


def test_a_row_is_of_the_shortest_bucket_that_holds_its_first_tree():
    trees = trees_of([[np.zeros(size, np.int32)] for size in (10, 17, 16, 40)])
    small, large = pack_rows(trees, (40, 16))  # buckets in any order
    assert [[len(tree) for tree in row] for row in small] == [[10]]
    assert [[len(tree) for tree in row] for row in large] == [[40], [17, 16]]


def test_packing_does_not_depend_on_the_order_of_trees():
    groups = [[np.full(size, size, np.int32)] for size in (3, 5, 8, 13, 21, 34, 2, 30)]
    there = pack_rows(trees_of(groups), BUCKETS)
    back = pack_rows(trees_of(groups)[::-1], BUCKETS)
    assert [[[t.keys for t in row] for row in rows] for rows in there] == [
        [[t.keys for t in row] for row in rows] for rows in back
    ]


def test_buckets_given_twice_pack_nothing_twice():
    trees = trees_of([[np.zeros(10, np.int32)]])
    (batch,) = tree_batches(trees, (16, 16), 16)
    assert sorted(batch.key[batch.key >= 0]) == [0]


def test_sequences_too_long_together_are_spread_over_trees_in_order():
    prefix = list(range(10))
    group = [np.array(prefix + [20 + i] * 5) for i in range(7)]
    trees = make_trees(group, range(7), 22)
    assert [tree.keys for tree in trees] == [(0, 1), (2, 3), (4, 5), (6,)]
    assert all(len(tree) <= 22 for tree in trees)
    assert [len(tree.prefix) for tree in trees] == [10, 10, 10, 14]  # alone, all but one token is prefix


@pytest.mark.parametrize("group", [[[5], [5]], [[1, 2], [1, 2]], [[1], [1, 2, 3]], [[7]], [[1, 2, 3], [1, 2]]], ids=str)
def test_equal_sequences_and_sequences_within_others_keep_a_token_of_their_own(group):
    (tree,) = make_trees(group, range(len(group)), 20)
    assert all(len(branch) >= 1 for branch in tree.branches)
    for sequence, branch in zip(group, tree.branches, strict=True):
        np.testing.assert_array_equal(np.concatenate([tree.prefix, branch]), sequence)


def test_no_sequences_make_no_trees_and_no_batches():
    assert make_trees([], [], 10) == []
    assert list(tree_batches([], BUCKETS, 64)) == []


# Refusals


@pytest.mark.parametrize("sequence", [[], [1] * 11])
def test_empty_and_overlong_sequences_are_refused_by_key(sequence):
    with pytest.raises(InputError, match=f"sequence 42: {len(sequence)} tokens do not fit a row of 10.*drop it whole"):
        make_trees([[1, 2], sequence], [41, 42], 10)


def test_every_sequence_needs_a_key():
    with pytest.raises(ValueError, match="zip"):
        make_trees([[1, 2]], [1, 2], 10)


@pytest.mark.parametrize("buckets", [(16,), ()], ids=str)
def test_a_tree_longer_than_every_bucket_is_refused(buckets):
    with pytest.raises(InputError, match="a tree of 17 tokens does not fit the longest bucket"):
        pack_rows(trees_of([[np.zeros(17, np.int32)]]), buckets)


def test_a_layout_without_room_is_refused():
    trees = trees_of([[np.zeros(8, np.int32)], [np.ones(8, np.int32)]])
    with pytest.raises(InputError, match="2 rows"):
        lay_out([[trees[0]], [trees[1]]], 8, num_rows=1, num_ends=8)
    with pytest.raises(InputError, match="2 ends"):
        lay_out([trees], 16, num_rows=1, num_ends=1)
    with pytest.raises(InputError, match="16 tokens"):
        lay_out([trees], 15, num_rows=1, num_ends=8)
