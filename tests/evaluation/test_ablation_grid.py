"""Settings by index arithmetic against numpy.unravel_index, and counts of subsets."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_grid import Axis, Grid, all_subsets, digits_after, sampled_subsets


def test_numbers_and_combinations_are_one_to_one_and_the_last_axis_is_fastest():
    grid = Grid((Axis("a", "xyz"), Axis("b", (1.5, 2.5)), Axis("c", range(4))))
    found = [tuple(grid.values_at(i).values()) for i in range(grid.size)]
    assert found == list(itertools.product("xyz", (1.5, 2.5), range(4)))


def test_digits_on_the_device_are_numpys():
    shape = (3, 5, 7, 2)
    for start in (0, 1, 13, 209):
        got = digits_after(jnp.array(np.unravel_index(start, shape)), jnp.arange(150), shape)
        expected = np.stack(np.unravel_index((start + np.arange(150)) % math.prod(shape), shape), -1)
        np.testing.assert_array_equal(got, expected)


def test_grids_beyond_32_bits_are_counted_and_addressed():
    shape = (1000, 70_000, 65_535)
    start = 4_000_000_000_123
    got = digits_after(jnp.array(np.unravel_index(start, shape), jnp.int32), jnp.arange(70_000), shape)
    expected = np.stack(np.unravel_index(start + np.arange(70_000), shape), -1)
    np.testing.assert_array_equal(got, expected)
    assert Grid(tuple(Axis(str(n), range(n)) for n in shape)).size == math.prod(shape)


@pytest.mark.parametrize("rules", [1, 2, 5, 16])
def test_every_non_empty_subset_occurs_once(rules):
    subsets = all_subsets(rules)
    assert subsets.shape == (2**rules - 1, rules) and subsets.any(1).all()
    assert len(np.unique(np.packbits(subsets, axis=1), axis=0)) == len(subsets)
    np.testing.assert_array_equal(np.bincount(subsets.sum(1))[1:], [math.comb(rules, n) for n in range(1, rules + 1)])


def test_more_than_16_rules_are_not_enumerated():
    with pytest.raises(InputError, match="2\\^17 subsets"):
        all_subsets(17)


@pytest.mark.parametrize(("rules", "count"), [(100, 3000), (5, 31), (5, 7), (4, 15)])
def test_sampled_subsets_are_different_and_the_full_set_is_among_them(rules, count):
    subsets = sampled_subsets(rules, count, seed=1)
    assert subsets.shape == (count, rules) and subsets.any(1).all() and subsets[0].all()
    assert len(np.unique(subsets, axis=0)) == count
    np.testing.assert_array_equal(subsets, sampled_subsets(rules, count, seed=1))


def test_sampled_subsets_have_every_size_equally_often():
    """But for those of which there are few: drawn member by member, sizes 5 and 15 would differ a thousandfold."""
    sizes = np.bincount(sampled_subsets(30, 30_000, seed=0).sum(1), minlength=31)[5:26]
    assert abs(sizes / sizes.mean() - 1).max() < 0.15


def test_senseless_grids_are_refused():
    with pytest.raises(InputError, match="axis 'a': has no value"):
        Axis("a", ())
    with pytest.raises(InputError, match="every axis once"):
        Grid((Axis("a", (1,)), Axis("a", (2,))))
    with pytest.raises(InputError, match="8 of 7 subsets"):
        sampled_subsets(3, 8, 0)
