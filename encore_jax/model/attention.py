"""Attention over prefix trees: the implementations, and which one is the fastest where.

Shape letters: B batch, S query positions, T key positions (T = S), N query heads, K key-value
heads, G = N / K query heads per key-value head, H head dimension.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError
from encore_jax.model.block_attention import Rows, block_attention
from encore_jax.model.device_split import HEADS, ROWS, on_each_device, split_of
from encore_jax.model.platform import platform
from encore_jax.model.visibility import visible

IMPLEMENTATIONS = ("xla", "pallas", "pallas_interpret", "cudnn", "auto")
"""``xla`` runs anywhere, ``pallas`` on TPU (``tree_attention``), ``pallas_interpret`` is the same anywhere, slowly, and
``cudnn`` runs on NVIDIA GPUs; ``auto`` is the fastest that the devices traced for, the type and the shape allow."""
CUDNN_DTYPES, CUDNN_HEAD_DIM = (jnp.bfloat16, jnp.float16), 128


def attend(
    q_BSNH: Float[Array, "B S N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    tree: Int[Array, "B S"],
    branch: Int[Array, "B S"],
    position: Int[Array, "B S"],
    window: Int[Array, ""] | int | None = None,
    *,
    cap: float = 0.0,
    implementation: str = "xla",
) -> Float[Array, "B S N H"]:
    """Scaled dot-product attention over prefix trees; the mask is that of ``visibility.visible``.

    What the implementations put out for padding differs, but is finite. Remat policies keep the output under the name
    "attention", see ``remat.saves``; the backward pass then does not run attention again.

    Args:
      q_BSNH, k_BTKH, v_BTKH: rotated queries and keys, and values; query head n uses key-value
        head ``n // G``.
      tree, branch, position, window: see ``visibility.visible``.
      cap: c of soft-capped scores ``c tanh(s / c)``, which "xla" alone computes; 0: none.
      implementation: one of ``IMPLEMENTATIONS``.

    Returns:
      The dtype of the queries; softmax and sums are fp32.

    Raises:
      InputError: unknown implementation, or one that was asked for by name and cannot do this; see ``_cudnn`` and
        ``tree_attention``.
    """
    if implementation not in IMPLEMENTATIONS:
        fix = f"use one of {list(IMPLEMENTATIONS)}"
        raise InputError(f"{implementation!r} is unknown", where="attention", fix=fix)
    if implementation == "auto":
        implementation = "xla" if cap else fastest(platform(), q_BSNH.shape, q_BSNH.dtype)
    if cap and implementation != "xla":
        problem, fix = (
            f"it has no soft cap, and the model's scores are capped at {cap:g}",
            "use attention 'auto' or 'xla'",
        )
        raise InputError(problem, where=f"attention {implementation!r}", fix=fix)
    arrays = (q_BSNH, k_BTKH, v_BTKH, tree, branch, position, window)
    if implementation == "xla":
        return block_attention(*arrays[:3], Rows(*arrays[3:]), cap)
    if implementation == "cudnn":
        return _cudnn(*arrays)
    from encore_jax.model.tree_attention import tree_attention

    return tree_attention(*arrays, interpret=implementation == "pallas_interpret")


def fastest(on: str, shape: tuple[int, int, int, int], dtype) -> str:
    """The implementation that "auto" stands for, given the platform and the shape and type of the queries.

    >>> fastest("tpu", (8, 2048, 32, 128), jnp.bfloat16), fastest("tpu", (8, 100, 32, 128), jnp.bfloat16)
    ('pallas', 'xla')
    """
    _, s, _, h = shape
    if on == "tpu":
        from encore_jax.model.tree_attention import takes

        return "pallas" if takes(s, dtype) else "xla"
    if on == "gpu" and dtype in CUDNN_DTYPES and s % 2 == 0 and h % 8 == 0 and h <= CUDNN_HEAD_DIM:
        return "cudnn"
    return "xla"


def _cudnn(q_BSNH, k_BTKH, v_BTKH, tree, branch, position, window):
    """cuDNN's flash attention under the mask as an array [B, 1, S, S]: it skips no blocks, but materialises no scores.

    jax 0.10 also has the backward pass make a gradient of that array, of its size, which nobody uses. Key-value heads
    are not repeated. Each device does its own rows and heads (see ``device_split``).

    Raises:
      InputError: fp32, for which cuDNN has no flash attention; no cuDNN; shapes that it does not take.
    """
    if q_BSNH.dtype not in CUDNN_DTYPES:
        raise InputError(
            f"no flash attention for {q_BSNH.dtype}",
            where="attention 'cudnn'",
            fix="compute in bfloat16, or use attention 'xla' or 'auto'",
        )

    def local(q, k, v, tree, branch, position, window):
        mask = visible(tree, branch, position, window)[:, None]
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")

    tokens, ids, number = (ROWS, None, HEADS, None), (ROWS, None), None if window is None else ()
    split = split_of(q_BSNH.shape[0], k_BTKH.shape[2])
    run = on_each_device(local, split, (tokens, tokens, tokens, ids, ids, ids, number), tokens)
    try:
        return run(q_BSNH, k_BTKH, v_BTKH, tree, branch, position, window)
    except RuntimeError as error:  # jax asks cuDNN at trace time what it can do
        fix = "use attention 'auto' or 'xla'"
        raise InputError(str(error), where="attention 'cudnn'", fix=fix) from error
