"""How fast this machine multiplies the matrices of a model: what a training step is held against.

A decoder layer's products at T tokens, and both products of each one's backward pass, by two libraries: XLA (as the
model computes them, fp32 sums) and torch. The larger rate counts as the machine's.

Both operands lie row by row and untransposed, which is how XLA multiplies them fastest here; a step also has to
transpose some. XLA's products are written over those of the pass before: fresh memory costs time that is no product's.

Letters: T tokens, (i, o) rows and columns of a matrix.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Sequence

from encore_jax.model.config import DecoderConfig
from encore_jax.model.lora import INPUT_AXES
from encore_jax.model.params import declare


def layer_matrices(cfg: DecoderConfig) -> list[tuple[int, int]]:
    """(i, o) of every matrix of one layer.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=16)
    >>> layer_matrices(cfg)
    [(8, 8), (8, 4), (8, 4), (8, 8), (8, 16), (8, 16), (16, 8)]
    """
    layer = declare(cfg)["layers"]
    shapes = {name: layer[name].of_one_layer.shape for name in ("q", "k", "v", "o", "gate", "up", "down")}
    split = {name: INPUT_AXES[name] for name in shapes}
    return [(math.prod(shape[: split[name]]), math.prod(shape[split[name] :])) for name, shape in shapes.items()]


def products(matrices: Sequence[tuple[int, int]], tokens: int) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of every product of a training step: forward, and two backward for each matrix.

    >>> products([(8, 4)], 100)
    [(100, 8, 4), (100, 4, 8), (8, 100, 4)]
    """
    return [each for i, o in matrices for each in ((tokens, i, o), (tokens, o, i), (i, tokens, o))]


def flops(shapes: Sequence[tuple[int, int, int]]) -> int:
    """Two operations for every entry of every product.

    >>> flops([(2, 3, 4)])
    48
    """
    return sum(2 * math.prod(shape) for shape in shapes)


def jax_pass(shapes: Sequence[tuple[int, int, int]], dtype: str) -> Callable[[], float]:
    """A function that computes every product once, and returns the seconds it took; compiled already."""
    import jax
    import jax.numpy as jnp

    from encore_jax.model.dense import product

    multiply = jax.jit(lambda a, b, _: product(a, b, ((1,), (0,))), donate_argnums=2, keep_unused=True)
    kind = jnp.dtype(dtype)
    pairs = [(jnp.ones((m, k), kind), jnp.ones((k, n), kind)) for m, k, n in shapes]
    out = [jnp.zeros((m, n), jnp.float32) for m, _, n in shapes]

    def run():
        out[:] = [multiply(a, b, c) for (a, b), c in zip(pairs, out, strict=True)]
        jax.block_until_ready(out)

    return _timed(run)


def passes(shapes: Sequence[tuple[int, int, int]], dtype: str, threads: int) -> list[Callable[[], float]]:
    """XLA's pass, and torch's on so many threads where torch is installed."""
    found = [jax_pass(shapes, dtype)]
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        found.append(torch_pass(shapes, dtype))
    return found


def torch_pass(shapes: Sequence[tuple[int, int, int]], dtype: str) -> Callable[[], float]:
    """The same with torch, whose products leave in the type of their operands."""
    import torch

    kind = getattr(torch, dtype)
    pairs = [(torch.ones((m, k), dtype=kind), torch.ones((k, n), dtype=kind)) for m, k, n in shapes]
    return _timed(lambda: [a @ b for a, b in pairs])


def _timed(run: Callable[[], object]) -> Callable[[], float]:
    run()

    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return seconds
