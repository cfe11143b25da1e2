"""Branches behind one prefix give what every path gives alone, whatever lies beside it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.model import branching, params
from encore_jax.model.branching import BranchRows, run_branches, run_root
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from tests.goldens import tiny

PLAIN = DecoderConfig(vocab_size=64, width=16, layers=3, heads=4, kv_heads=2, head_dim=8, mlp_width=32)
WINDOWED = dataclasses.replace(PLAIN, windows=(0, 5, 3))
FAMILIES = ("qwen3", "qwen2", "gemma2", "gemma3")
ROOT, PREFIX, TOTAL, LONGEST, ENDS = 6, 24, 40, 9, 5
PARTS = ((4, 11, (3, 9, 1, 7)), (6, 24, (8, 8, 8, 8, 8)), (0, 5, (2,)), (6, 0, (4, 4)))
"""Of each row: how much of the root it begins with, tokens of its prefix, tokens of its branches."""


def draw(cfg, seed=0):
    drawn = params.init(cfg, jax.random.key(seed))
    return jax.tree.map(lambda x: 4 * x if x.ndim > 2 else x, drawn)  # far from uniform attention


def rows_of(parts, vocab, seed=1):
    """Rows as the model wants them, and every path in tokens."""
    rng = np.random.default_rng(seed)
    root = rng.integers(1, vocab, ROOT)
    shape = (len(parts), PREFIX + TOTAL)
    tokens, position, branch = rng.integers(1, vocab, shape), np.zeros(shape, int), np.full(shape, -1)
    ends, paths = np.full((len(parts), ENDS), PREFIX), []
    for c, (shared, prefix, lengths) in enumerate(parts):
        branch[c, :prefix], position[c, :prefix] = 0, shared + np.arange(prefix)
        cursor = PREFIX
        for i, length in enumerate(lengths):
            span = slice(cursor, cursor := cursor + length)
            branch[c, span], position[c, span] = i + 1, shared + prefix + np.arange(length)
            ends[c, i] = cursor - 1
            paths.append(((c, i), np.concatenate([root[:shared], tokens[c, :prefix], tokens[c, span]])))
    shared = np.array([part[0] for part in parts])
    made = BranchRows(*(jnp.asarray(x, jnp.int32) for x in (tokens, branch, position, shared, ends)))
    return jnp.asarray(root, jnp.int32), made, paths


def at_ends(cfg, drawn, root, rows, dtype=jnp.float32):
    def compute(drawn, root, rows):
        return run_branches(cfg, drawn, run_root(cfg, drawn, root, dtype), rows, PREFIX, LONGEST, dtype)

    return np.asarray(jax.jit(compute)(drawn, root, rows), np.float32)


def alone(cfg, drawn, paths):
    """Hidden states at the ends of the paths, each in a row of its own."""
    longest = max(len(path) for _, path in paths)
    real = np.array([[1] * len(path) + [0] * (longest - len(path)) for _, path in paths])
    tokens = np.array([np.pad(path, (0, longest - len(path))) for _, path in paths])
    rows = (tokens, real, 0 * real, np.arange(longest)[None] + 0 * real)
    hidden = jax.jit(lambda drawn, *rows: Backbone(cfg).apply({"params": drawn}, *rows))(
        drawn, *(jnp.asarray(x, jnp.int32) for x in rows)
    )
    return {place: np.asarray(hidden[i, len(path) - 1]) for i, (place, path) in enumerate(paths)}


CFGS = {"plain": PLAIN, "windowed": WINDOWED}
CFGS |= {name: DecoderConfig.from_hf(tiny.config(name)) for name in FAMILIES}


@pytest.mark.parametrize(
    ("name", "queries"),
    [
        *(("plain", 7), ("windowed", 128), ("gemma2", 128), ("gemma3", 128)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("gemma2", 7), ("qwen2", 128), ("qwen3", 128))),
    ],
)
def test_every_path_alone(name, queries, monkeypatch):
    monkeypatch.setattr(branching, "QUERIES", queries)
    cfg = CFGS[name]
    drawn = draw(cfg)
    root, rows, paths = rows_of(PARTS, cfg.vocab_size)
    got = at_ends(cfg, drawn, root, rows)
    for at, expected in alone(cfg, drawn, paths).items():
        np.testing.assert_allclose(got[at], expected, atol=2e-5, rtol=1e-4)


def test_without_a_root():
    drawn = draw(PLAIN)
    _, rows, paths = rows_of([(0, 9, (3, 4))], PLAIN.vocab_size)
    got = at_ends(PLAIN, drawn, jnp.zeros(0, jnp.int32), rows)
    for at, expected in alone(PLAIN, drawn, paths).items():
        np.testing.assert_allclose(got[at], expected, atol=2e-5, rtol=1e-4)


def test_nothing_but_the_path_matters():
    drawn = draw(PLAIN)
    root, rows, _ = rows_of(PARTS, PLAIN.vocab_size)
    expected = at_ends(PLAIN, drawn, root, rows)
    off_path = (rows.branch == -1) | (rows.branch == 2)
    changed = rows._replace(tokens=jnp.where(off_path, 63 - rows.tokens, rows.tokens))
    got = at_ends(PLAIN, drawn, root, changed)
    kept = [(c, i) for c, (_, _, lengths) in enumerate(PARTS) for i in range(len(lengths)) if i != 1]
    for at in kept:
        np.testing.assert_array_equal(got[at], expected[at])
    assert np.abs(got[0, 1] - expected[0, 1]).max() > 1e-3


def test_bf16_is_near():
    drawn = draw(PLAIN)
    root, rows, paths = rows_of(PARTS, PLAIN.vocab_size)
    exact, got = at_ends(PLAIN, drawn, root, rows), at_ends(PLAIN, drawn, root, rows, jnp.bfloat16)
    at = tuple(np.array([place for place, _ in paths]).T)
    assert np.abs(got[at] - exact[at]).max() < 0.1 * np.abs(exact[at]).max()
