"""The mask against its definition, and attention against float64 NumPy with repeated heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.model.attention import attend
from encore_jax.model.block_attention import MOST_BLOCKS, SMALLEST_BLOCK, blocks
from encore_jax.model.visibility import reach, visible


def packed_rows(rng, batch, length):
    """Random packed prefix trees: each row several trees of a prefix and 1-3 branches, then pad."""
    tree, branch, position = (np.zeros((batch, length), np.int32) for _ in range(3))
    for b in range(batch):
        at, t = 0, 0
        while at < length - 4:
            t += 1
            prefix = int(rng.randint(1, 9))
            parts = [(0, 0, prefix)]
            parts += [(i + 1, prefix, int(rng.randint(1, 9))) for i in range(rng.randint(1, 4))]
            for which, start, size in parts:
                size = min(size, length - at)
                tree[b, at : at + size] = t
                branch[b, at : at + size] = which
                position[b, at : at + size] = start + np.arange(size)
                at += size
            if t == 4 and length < 100:
                break
    return tree, branch, position


def definition(tree, branch, position, window=0):
    """The rule, one pair at a time."""
    batch, length = tree.shape
    seen = np.zeros((batch, length, length), bool)
    for b, q, k in np.ndindex(seen.shape):
        same = tree[b, q] == tree[b, k] and k <= q
        on_path = branch[b, k] == 0 or branch[b, k] == branch[b, q]
        near = not window or position[b, q] - position[b, k] < window
        seen[b, q, k] = same and on_path and near
    return seen


@pytest.mark.parametrize("window", [0, 3])
def test_visible_is_the_rule(window):
    rows = packed_rows(np.random.RandomState(0), 3, 40)
    got = visible(*map(jnp.asarray, rows), window or None)
    np.testing.assert_array_equal(got, definition(*rows, window))
    np.testing.assert_array_equal(got, visible(*map(jnp.asarray, rows), jnp.int32(window)))
    part = visible(*map(jnp.asarray, rows), window, queries=slice(8, 16), keys=slice(0, 16))
    np.testing.assert_array_equal(part, got[:, 8:16, :16])
    assert got.any(-1).all()  # every query, padding too, sees at least itself


def naive(q, k, v, seen):
    """float64, heads repeated, full square."""
    repeat = q.shape[2] // k.shape[2]
    k, v = np.repeat(k, repeat, axis=2), np.repeat(v, repeat, axis=2)
    score = np.einsum("bsnh,btnh->bnst", q, k) / np.sqrt(q.shape[-1])
    score = np.where(seen[:, None], score, -np.inf)
    weight = np.exp(score - score.max(-1, keepdims=True))
    return np.einsum("bnst,btnh->bsnh", weight / weight.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("length", [1, 40, SMALLEST_BLOCK, SMALLEST_BLOCK * 2 + 13])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (3, 1)])
def test_grouped_attention_equals_repeated_heads(length, heads, kv_heads):
    rng = np.random.RandomState(length)
    rows = packed_rows(rng, 2, length)
    q = rng.standard_normal((2, length, heads, 8))
    k, v = (rng.standard_normal((2, length, kv_heads, 8)) for _ in range(2))
    arrays = [jnp.asarray(x, jnp.float32) for x in (q, k, v)]
    for window in (0, 5):
        expected = naive(q, k, v, np.asarray(visible(*map(jnp.asarray, rows), window)))
        got = jax.jit(attend)(*arrays, *map(jnp.asarray, rows), window)
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_long_rows_take_few_large_blocks():
    rng = np.random.RandomState(0)
    length = SMALLEST_BLOCK * MOST_BLOCKS + 100
    rows = [jnp.asarray(r) for r in packed_rows(rng, 1, length)]
    q, k, v = (jnp.asarray(rng.standard_normal((1, length, 1, 4)), jnp.float32) for _ in range(3))
    expected = naive(*(np.asarray(x, np.float64) for x in (q, k, v)), np.asarray(visible(*rows)))
    np.testing.assert_allclose(jax.jit(attend)(q, k, v, *rows), expected, atol=2e-6)
    assert len(blocks(length)) == MOST_BLOCKS


@pytest.mark.parametrize("shuffled", [False, True])
def test_no_key_that_is_seen_lies_before_the_reach(shuffled):
    rng = np.random.RandomState(1)
    rows = [np.array(r) for r in packed_rows(rng, 4, 90)]
    if shuffled:  # ids that no packing makes: the reach must not cut anything off
        rows = [r[:, rng.permutation(90)] for r in rows]
    seen, first = np.asarray(visible(*map(jnp.asarray, rows))), np.asarray(reach(jnp.asarray(rows[0])))
    earliest = seen.argmax(-1)
    assert (first <= earliest).all()
    if not shuffled:
        np.testing.assert_array_equal(first, earliest)  # and it is tight: the first token of a tree is in its prefix


@pytest.mark.parametrize(("window", "cap", "shuffled"), [(None, 0.0, True), (7, 0.0, True), (7, 1.5, False)])
def test_gradients_equal_those_of_the_full_square(window, cap, shuffled):
    """Trees of many lengths over several blocks, so that short and long stretches of keys are taken."""
    rng, length = np.random.RandomState(5), SMALLEST_BLOCK * 5 + 20
    tree, branch, position = (np.zeros((2, length), np.int32) for _ in range(3))
    for b, sizes in enumerate([(30, 150, 20, 60), (200, 10, 100)]):
        at = 0
        for t, size in enumerate(sizes, 1):
            tree[b, at : at + size], position[b, at : at + size] = t, np.arange(size)
            branch[b, at + size // 2 : at + size] = rng.randint(1, 3, size - size // 2)
            at += size
    rows = [jnp.asarray(r[:, rng.permutation(length)] if shuffled else r) for r in (tree, branch, position)]
    q, k, v, dout = (jnp.asarray(rng.standard_normal((2, length, n, 8)), jnp.float32) for n in (4, 2, 2, 4))

    def square(q, k, v):
        k, v = jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)
        score = jnp.einsum("bsnh,btnh->bnst", q, k, precision="highest") / np.sqrt(8)
        score = cap * jnp.tanh(score / cap) if cap else score
        score = jnp.where(visible(*rows, window)[:, None], score, -jnp.inf)
        return jnp.einsum("bnst,btnh->bsnh", jax.nn.softmax(score), v, precision="highest")

    expected, pull = jax.vjp(square, q, k, v)
    got, pull_blocks = jax.vjp(jax.jit(lambda q, k, v: attend(q, k, v, *rows, window, cap=cap)), q, k, v)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    for a, b in zip(pull_blocks(dout), pull(dout), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("implementation", ["pallas", "pallas_interpret", "cudnn"])
def test_kernels_without_a_soft_cap_refuse_it_by_name(implementation):
    rows = [jnp.ones((1, 128), jnp.int32)] * 3
    q = jnp.ones((1, 128, 1, 128), jnp.bfloat16)
    with pytest.raises(InputError, match=f"attention '{implementation}': it has no soft cap.*capped at 50"):
        attend(q, q, q, *rows, cap=50.0, implementation=implementation)
    assert attend(q, q, q, *rows, cap=50.0, implementation="auto").shape == q.shape


def test_gradients_are_finite_and_padding_gives_and_takes_none():
    rng = np.random.RandomState(3)
    tree, branch, position = packed_rows(rng, 1, 24)
    tree[0, 15:] = branch[0, 15:] = position[0, 15:] = 0
    q, k, v = (jnp.asarray(rng.standard_normal((1, 24, 2, 4)), jnp.float32) for _ in range(3))

    def of_text(*qkv):
        return attend(*qkv, *map(jnp.asarray, (tree, branch, position)))[:, :15].sum()

    for grad in jax.jit(jax.grad(of_text, argnums=(0, 1, 2)))(q, k, v):
        assert np.isfinite(grad).all() and (grad[:, 15:] == 0).all()


def test_bf16_softmax_is_fp32():
    rng = np.random.RandomState(4)
    rows = [jnp.asarray(r) for r in packed_rows(rng, 1, 200)]
    q, k, v = (jnp.asarray(rng.standard_normal((1, 200, 2, 16)), jnp.bfloat16) for _ in range(3))
    exact = naive(*(np.asarray(x, np.float64) for x in (q, k, v)), np.asarray(visible(*rows)))
    got = jax.jit(attend)(q, k, v, *rows)
    assert got.dtype == jnp.bfloat16
    assert np.abs(np.asarray(got, np.float64) - exact).max() < 0.03  # 2^-8 of values up to 3


def test_an_unknown_implementation_is_refused():
    x, row = jnp.zeros((1, 2, 1, 2)), jnp.zeros((1, 2), jnp.int32)
    with pytest.raises(InputError, match="flash9"):
        attend(x, x, x, row, row, row, implementation="flash9")
