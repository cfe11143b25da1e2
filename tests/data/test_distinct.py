"""Equal arrays are found, and a function of rows gives them equal results."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_jax.data.distinct import distinct, on_distinct_rows
from encore_jax.data.prefix_tree import make_trees, without_repeats

ROWS = st.lists(st.lists(st.integers(0, 2), max_size=3), max_size=20)


@given(ROWS)
def test_equal_arrays_have_one_place_and_others_do_not(rows):
    found = distinct(np.array(row, np.int32) for row in rows)
    assert [rows[i] for i in found.representative] == rows
    assert len({tuple(row) for row in rows}) == len(found.first)
    assert found.first.tolist() == sorted(found.first.tolist())
    assert all(rows.index(rows[i]) == i for i in found.first)


@given(st.lists(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=5), max_size=5))
def test_trees_without_repeats_hold_every_sequence_once(groups):
    trees, keys = [], iter(range(1000))
    sequence_of = {}
    for group in groups:
        names = [next(keys) for _ in group]
        sequence_of |= dict(zip(names, group, strict=True))
        trees += make_trees(group, names, 100)
    kept, stands_in = without_repeats(trees)
    held = {key: [*tree.prefix, *branch] for tree in kept for key, branch in zip(tree.keys, tree.branches, strict=True)}
    assert sorted(map(tuple, held.values())) == sorted({tuple(row) for row in sequence_of.values()})
    assert (
        all(held[stands_in[key]] == row for key, row in sequence_of.items()) and stands_in.keys() == sequence_of.keys()
    )


@pytest.mark.parametrize("width", [1, 10])
def test_a_matrix_product_of_equal_rows_has_equal_rows(width):
    rng = np.random.default_rng(0)
    row, kernel = rng.normal(size=(1, 576)).astype(np.float32), rng.normal(size=(576, width)).astype(np.float32)
    rows = np.concatenate([np.repeat(row, 53, 0), rng.normal(size=(7, 576)).astype(np.float32), row])
    got = on_distinct_rows(lambda rows: rows @ kernel, rows)
    np.testing.assert_allclose(got, rows @ kernel, rtol=1e-4, atol=1e-4)
    assert (got[:53] == got[-1:]).all() and np.ptp(got, axis=0).min() > 1
