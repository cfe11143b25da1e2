"""cuDNN's attention against XLA's on a real GPU: ENCORE_TEST_PLATFORM=cuda pytest -m gpu."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.model.attention import attend, fastest, platform

pytestmark = pytest.mark.gpu
LENGTH = 256


@pytest.fixture(autouse=True)
def gpu():
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU is used here; on a machine with one set ENCORE_TEST_PLATFORM=cuda")


def packed():
    """tree, branch, position [2, LENGTH]: two trees and padding, and one tree that fills the row."""
    rows = np.zeros((3, 2, LENGTH), np.int32)
    for b, trees in enumerate([[(40, 30, 50), (20, 60)], [(100, 100, 56)]]):
        at = 0
        for t, sizes in enumerate(trees, start=1):
            for branch, size in enumerate(sizes):
                span = slice(at, at + size)
                rows[:, b, span] = np.array([[t], [branch], [0]])
                rows[2, b, span] = np.arange(size) + (sizes[0] if branch else 0)
                at += size
    return jnp.asarray(rows)


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(9, 3, 64), (8, 2, 128)])
def test_cudnn_equals_xla(heads, kv_heads, head_dim, window):
    rows, rng = packed(), np.random.default_rng(0)
    shapes = [(2, LENGTH, n, head_dim) for n in (heads, kv_heads, kv_heads, heads)]
    q, k, v, dout = (jnp.asarray(rng.standard_normal(shape), jnp.bfloat16) for shape in shapes)
    dout = jnp.where((rows[0] != 0)[..., None, None], dout, 0)
    assert fastest(platform(), q.shape, q.dtype) == "cudnn"

    @functools.partial(jax.jit, static_argnums=0)
    def run(implementation, *qkv):
        out, pull = jax.vjp(lambda *qkv: attend(*qkv, *rows, window, implementation=implementation), *qkv)
        return jnp.where(dout == 0, 0, out), *pull(dout)

    expected = run("xla", q, k, v)
    for got, want in zip(run("auto", q, k, v), expected, strict=True):
        got, want = (np.asarray(x, np.float32) for x in (got, want))
        np.testing.assert_allclose(got, want, rtol=2e-2, atol=2e-2 * np.abs(want).max())
