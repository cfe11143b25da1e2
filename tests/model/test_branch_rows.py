"""The layout holds every question, token for token, whatever the questions are."""

import numpy as np
import pytest

from encore_jax.model.branch_rows import lay_out, make_tree, round_up, shape_of

RNG = np.random.default_rng(0)


def questions(shared, count, root=()):
    """Sequences that begin with the root and the same `shared` tokens, then differ."""
    common = [*root, *RNG.integers(0, 50, shared).tolist()]
    return [common + [100 + i] + RNG.integers(0, 50, RNG.integers(0, 20)).tolist() for i in range(count)]


ROOT = list(range(900, 912))
CASES = [
    questions(30, 10, ROOT),
    questions(5, 3, ROOT[:7]),
    questions(0, 2, ROOT),
    questions(12, 1, ROOT),
    [[*ROOT[:5]], [*ROOT]],
    [[4], [4, 5]],
    [[3, 4, 5]] * 2,
]


def test_every_question_can_be_read_back_along_its_path():
    trees, expected, number = [], {}, 0
    for sequences in CASES:
        keys = range(number, number + len(sequences))
        number += len(sequences)
        expected |= dict(zip(keys, sequences, strict=True))
        trees.append(make_tree(sequences, keys, ROOT))
    shapes = [shape_of(tree, (32, 64)) for tree in trees]
    shape = type(shapes[0])(*map(max, zip(*shapes, strict=True)))
    rows, keys = lay_out(trees, shape, len(trees) + 2)
    assert sorted(keys[keys >= 0]) == list(expected)
    for c, e in zip(*np.nonzero(keys >= 0), strict=True):
        end = rows.ends[c, e]
        own = (rows.branch[c] == rows.branch[c, end]) & (np.arange(shape.tokens) >= shape.prefix)
        path = np.flatnonzero((rows.branch[c] == 0) | own)
        tokens = [*ROOT[: rows.root[c]], *rows.tokens[c, path]]
        assert tokens == expected[keys[c, e]] and path[-1] == end
        assert rows.position[c, path].tolist() == list(range(rows.root[c], len(tokens)))
        assert own.sum() <= shape.longest
    assert (rows.branch[len(trees) :] == -1).all()


def test_what_is_shared_is_shared():
    tree = make_tree(questions(30, 10, ROOT), range(10), ROOT)
    assert tree.root == len(ROOT) and len(tree.prefix) == 30 and tree.branches[3][0] == 103


def test_a_prefix_longer_than_all_buckets_has_no_shape():
    tree = make_tree(questions(65, 2, ROOT), range(2), ROOT)
    assert shape_of(tree, (32, 64)) is None and shape_of(tree, (128,)).prefix == 128


@pytest.mark.parametrize("count", [1, 15, 16, 17, 252, 513, 2428, 100_000])
def test_rounding_up_adds_little(count):
    rounded = round_up(count)
    assert count <= rounded < count + max(16, count / 16) and rounded % 16 == 0
