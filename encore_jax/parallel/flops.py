"""FLOPs that one training step needs by arithmetic alone, against which a compiled step is held.

With P the entries of the layers' matrices (of experts only those that a token is sent to), A those of adapters (LoRA),
T = rows x length processed tokens (padding included: the machine pays for it), N heads of H, D width, K rules, M branch
ends:

    forward    = 2 P T + 2 A T + attention + 2 D K M
    attention  = sum over layers and rows of 4 N H (pairs of a query and a key it may see)

where a query at place i sees i + 1 keys, or its window if that is less: half of the square. (Prefix trees see less
still, but what they see depends on the data.) The backward pass costs two more of each product whose operands both
need gradients, and one more where one operand is frozen:

| trainable | P | A | attention | heads |
|---|---|---|---|---|
| "all" | 3 | - | 3 | 3 |
| "lora" | 2 | 3 | 3 | 3 |
| "heads" | 1 | - | 1 | 2 |
| "none" (scoring) | 1 | - | 1 | 1 |

times the forward count. The embedding is looked up, not multiplied. Norms, rotations, softmax, biases and the optimizer
are not counted, and neither is rematerialisation: it is the compiled program's choice, and the ratio shows its price.
"""

from __future__ import annotations

import math

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.params import Param, declare

_PASSES = {"all": (3, 0, 3, 3), "lora": (2, 3, 3, 3), "heads": (1, 0, 1, 2), "none": (1, 0, 1, 1)}
"""How often (P, A, attention, heads) are paid, in units of their forward count."""


def step_flops(
    cfg: DecoderConfig, *, rows: int, length: int, ends: int, rules: int, trainable: str = "all", adapters: int = 0
) -> int:
    """FLOPs of one training step on all devices together, two per multiply-add.

    Args:
      cfg: the backbone.
      rows, length: of the batch, all accumulation steps together.
      ends: M, branch ends that are scored.
      rules: K, heads.
      trainable: "all", "lora", "heads" or, where nothing is trained, "none".
      adapters: entries of all LoRA matrices.

    Raises:
      InputError: unknown `trainable`.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=16)
    >>> matrix_entries(cfg)
    1152
    >>> step_flops(cfg, rows=1, length=16, ends=2, rules=3) == 3 * (2 * 1152 * 16 + 2 * 4 * 8 * 136 + 2 * 8 * 3 * 2)
    True
    """
    if trainable not in _PASSES:
        raise InputError(f"{trainable!r} is unknown", where="trainable", fix=f"use one of {list(_PASSES)}")
    tokens = rows * length
    windows = cfg.windows or (0,) * cfg.layers
    forward = (
        2 * matrix_entries(cfg) * tokens,
        2 * adapters * tokens,
        4 * cfg.heads * cfg.head_dim * rows * sum(visible_pairs(length, window) for window in windows),
        2 * cfg.width * rules * ends,
    )
    return sum(times * flops for times, flops in zip(_PASSES[trainable], forward, strict=True))


def matrix_entries(cfg: DecoderConfig) -> int:
    """P: entries of the layers' matrices that a token is multiplied with; no embedding, norms or biases."""
    layers: dict[str, Param] = declare(cfg)["layers"]
    return sum(_met(cfg, p) for name, p in layers.items() if "norm" not in p.axes and not name.endswith("_bias"))


def _met(cfg: DecoderConfig, p: Param) -> int:
    """Entries that one token meets: of experts, only those of its own."""
    size = math.prod(p.shape)
    return size // cfg.experts * cfg.experts_per_token if "experts" in p.axes else size


def visible_pairs(length: int, window: int = 0) -> int:
    """Pairs of a query and a key that it may see in one causal row; window 0: all before it.

    >>> visible_pairs(4), visible_pairs(4, 2), visible_pairs(4, 9)
    (10, 7, 10)
    """
    seen = min(window or length, length)
    return seen * (seen + 1) // 2 + (length - seen) * seen
