"""The plan of blocks never drops a visible pair of tokens, keeps little else, and lists what it keeps in order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.errors import InputError
from encore_jax.model.tree_blocks import block_size, not_empty, steps
from tests.model.tree_rows import BLOCK, ROWS, row, visible_pairs


def blocks_with_something_visible(seen, block):
    b, s, _ = seen.shape
    return seen.reshape(b, s // block, block, s // block, block).any((2, 4))


plan = jax.jit(not_empty, static_argnums=4)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["packed", "anything", "huge"]), st.sampled_from([0, 3, 60]))
@settings(max_examples=60, deadline=None)
def test_the_plan_never_drops_a_visible_pair(seed, kind, window):
    rng = np.random.default_rng(seed)
    if kind == "packed":
        longest = rng.choice([4, 40, 150])
        trees = [rng.integers(0, longest, rng.integers(2, 5)) for _ in range(60)]
        ids = row(*trees, length=256)[None]
    else:
        most = 4 if kind == "anything" else 2**31 - 1
        ids = rng.integers(0, most, (1, 3, 256), dtype=np.int32)
        ids[0, :2] *= rng.random((2, 256)) < 0.9
        if kind == "huge":
            ids[0, 0, 128:], ids[0, 1, 128:] = ids[0, 0, :128], 0
    needed = blocks_with_something_visible(visible_pairs(ids, window), 32)
    kept = np.asarray(plan(*np.moveaxis(ids, 1, 0), window, 32))
    assert kept[needed].all()
    if kind == "packed" and not window and (np.array([prefix for prefix, *_ in trees]) > 0).all():
        needed |= np.eye(8, dtype=bool)
        np.testing.assert_array_equal(kept, needed)  # and none in vain


def test_the_plan_skips_what_is_empty():
    kept = np.asarray(not_empty(*np.moveaxis(np.stack(ROWS), 1, 0), None, BLOCK)).astype(int)
    assert kept[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]  # branch 2 does not see branch 1
    assert kept[2].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert kept[3].tolist() == np.eye(3).tolist()  # padding
    short = row(*[(40, 30, 30)] * 40, length=4096)[None]
    share = np.asarray(not_empty(*np.moveaxis(short, 1, 0), None, 128)).sum() / (32 * 33 / 2)
    assert share < 0.15  # 32 diagonal blocks and what trees stretch beyond them, of 528
    windowed = np.asarray(not_empty(*row((4096,), length=4096)[:, None], 300, 128)).sum()
    assert windowed == 32 + 31 + 30 + 29  # a window of 300 reaches into three blocks before


@pytest.mark.parametrize("by_key", [False, True])
def test_lists_hold_each_kept_pair_once_grouped(by_key):
    kept = np.tri(6, dtype=bool) & (np.random.default_rng(0).random((5, 6, 6)) < 0.5) | np.eye(6, dtype=bool)
    made = steps(jnp.asarray(kept), by_key=by_key)
    for b in range(5):
        pairs = list(zip(made.query[b].tolist(), made.key[b].tolist(), strict=True))[: made.count[b]]
        wanted = [tuple(pair) for pair in np.argwhere(kept[b]).tolist()]
        assert pairs == sorted(wanted, key=lambda pair: pair[::-1] if by_key else pair)


def test_blocks_grow_with_the_row_and_shrink_with_the_group():
    assert [block_size(s) for s in (128, 256, 640, 768, 1024, 2048)] == [128, 256, 128, 256, 512, 512]
    assert block_size(2048, token_bytes=8 * 128 * 2) == 512  # 8 heads of 128 in bf16
    assert block_size(2048, token_bytes=8 * 128 * 4) == 256
    with pytest.raises(InputError, match="pad rows to 1024"):
        block_size(1000)
