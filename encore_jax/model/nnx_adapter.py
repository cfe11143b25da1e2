"""The backbone as a Flax NNX module, for stacks that want one (Tunix): the Linen module does the computing.

Shape letters: B batch, S sequence, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora


class NnxBackbone(nnx.Module):
    """`Backbone` with its parameters inside: ``nnx.split``, ``merge``, ``jit`` and ``grad`` work as on any NNX module.

    >>> from jax import random
    >>> from encore_jax.model.params import init
    >>> cfg = DecoderConfig(vocab_size=8, width=4, layers=1, heads=1, kv_heads=1, head_dim=4, mlp_width=8)
    >>> module = NnxBackbone(cfg, init(cfg, random.key(0)))
    >>> ids = jnp.arange(3)[None]
    >>> module(ids, jnp.ones_like(ids), jnp.zeros_like(ids), ids).shape
    (1, 3, 4)

    Args:
      cfg: the architecture.
      params: the parameters as Linen has them; each becomes an ``nnx.Param`` of the same name, on the devices where it
        lies. Nothing is copied.
      dtype, remat, attention, unroll, lora: see `Backbone`.
    """

    def __init__(
        self,
        cfg: DecoderConfig,
        params: Mapping[str, Any],
        *,
        dtype: Any = jnp.float32,
        remat: str = "none",
        attention: str = "auto",
        unroll: int = 1,
        lora: Lora | None = None,
    ):
        self.linen = nnx.static(Backbone(cfg, dtype, remat=remat, attention=attention, unroll=unroll, lora=lora))
        self.params = variables(params)

    @property
    def cfg(self) -> DecoderConfig:
        """The architecture."""
        return self.linen.cfg

    def __call__(
        self,
        tokens: Int[Array, "B S"],
        tree: Int[Array, "B S"],
        branch: Int[Array, "B S"],
        position: Int[Array, "B S"],
    ) -> Float[Array, "B S D"]:
        """Hidden states after the final norm; see `Backbone`."""
        return self.linen.apply({"params": arrays(self.params)}, tokens, tree, branch, position)


def variables(params: Mapping[str, Any]) -> nnx.Dict:
    """A nested dict of arrays, each as an ``nnx.Param``."""
    return nnx.Dict({k: variables(v) if isinstance(v, Mapping) else nnx.Param(v) for k, v in params.items()})


def arrays(params: nnx.Dict) -> dict[str, Any]:
    """The inverse of `variables`: what Linen's ``apply`` takes, and every writer of checkpoints here.

    >>> arrays(variables({"a": {"b": jnp.ones(2)}}))
    {'a': {'b': Array([1., 1.], dtype=float32)}}
    """
    return {name: arrays(v) if isinstance(v, nnx.Dict) else v.get_value() for name, v in params.items()}
