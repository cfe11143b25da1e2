"""What a decoder backbone is made of: one frozen description for every supported family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore_jax.errors import InputError
from encore_jax.model.config_files import fields_from_hf
from encore_jax.model.config_gguf import fields_from_gguf
from encore_jax.model.rope_scaling import RopeScaling

ACTIVATIONS = ("silu", "gelu_tanh")


@dataclass(frozen=True)
class DecoderConfig:
    """A Llama-style decoder: RMS norm, rotary positions, grouped-query attention, gated MLP.

    Attributes:
      vocab_size: V, rows of the embedding.
      width: D, the residual stream.
      layers: L.
      heads, kv_heads: N query heads sharing K key-value heads; N is a multiple of K.
      head_dim: H, even (rotary pairs).
      rotary_dim: how many of a head's first dimensions are rotated (Phi-4-mini); 0: all.
      mlp_width: F.
      norm_eps: added to the mean square in every RMS norm.
      rope_theta: base of the rotary wavelengths.
      rope: how they are stretched.
      local_rope_theta: the base of layers that have a window, never stretched (Gemma 3); 0: that of all.
      qkv_bias: query, key and value projections have a bias (Qwen2).
      qk_norm: queries and keys are RMS-normed per head before the rotation (Qwen3, Gemma 3).
      qk_norm_whole: where they are normed, all heads of a token together, instead of each (OLMoE).
      tie_embeddings: the LM head is the embedding.
      activation: of the MLP's gate: ``silu``, or ``gelu_tanh`` (Gemma).
      norm_offset: what RMS norms add to their stored scale: 0, or 1 (Gemma).
      post_norms: attention and MLP have a norm on what they put out, too (Gemma).
      embed_scale: factor of the embeddings (Gemma: the square root of D; Granite).
      residual_scale: factor of what attention and MLP add to the residual stream (Granite).
      query_scale: attention scores are ``q k / sqrt(query_scale)``; 0 stands for H.
      attention_cap: attention scores s become ``c tanh(s / c)``; 0: they stay as they are.
      logit_cap: the same for the LM head's logits.
      logit_divisor: what the LM head's logits are divided by (Granite).
      windows: each layer's sliding window in tokens, 0 for full attention; empty: all full.
      experts: E, gated MLPs of every layer, of which a router picks some for every token; 0: one MLP, for all.
      experts_per_token: k, how many it picks; `mlp_width` is that of one.
      normalize_experts: the weights of the experts of a token add up to 1 (Qwen3-MoE).
      max_positions: the longest path the model was made for, in tokens.
      init_std: standard deviation of freshly drawn kernels.
      family: one of ``config_files.FAMILIES``.

    Raises:
      InputError: sizes that do not fit together.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4,
    ...                     mlp_width=16)
    >>> cfg.heads_per_kv, cfg.window
    (2, None)
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope: RopeScaling = RopeScaling()
    local_rope_theta: float = 0.0
    qkv_bias: bool = False
    qk_norm: bool = False
    qk_norm_whole: bool = False
    tie_embeddings: bool = False
    activation: str = "silu"
    norm_offset: float = 0.0
    post_norms: bool = False
    embed_scale: float = 1.0
    residual_scale: float = 1.0
    query_scale: float = 0.0
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    logit_divisor: float = 1.0
    windows: tuple[int, ...] = ()
    rotary_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    normalize_experts: bool = False
    max_positions: int = 2048
    init_std: float = 0.02
    family: str = "llama"

    def __post_init__(self):
        for name in ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "mlp_width"):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise InputError(f"{size!r} is not a positive whole number", where=name)
        if self.heads % self.kv_heads:
            raise InputError(
                f"{self.heads} query heads cannot share {self.kv_heads} key-value heads evenly",
                where="kv_heads",
                fix="make heads a multiple of kv_heads",
            )
        if self.activation not in ACTIVATIONS:
            raise InputError(f"{self.activation!r} is unknown", where="activation", fix=f"use one of {ACTIVATIONS}")
        if self.head_dim % 2:
            raise InputError(f"{self.head_dim} is odd", where="head_dim", fix="rope needs pairs")
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise InputError(
                f"{self.experts_per_token} of {self.experts} experts for a token",
                where="experts_per_token",
                fix=f"use 1 to {self.experts}",
            )
        if self.windows and len(self.windows) != self.layers:
            raise InputError(
                f"{len(self.windows)} windows for {self.layers} layers",
                where="windows",
                fix="give one window per layer (0: full attention), or none at all",
            )
        if self.rotary_dim % 2 or not 0 <= self.rotary_dim <= self.head_dim:
            raise InputError(
                f"{self.rotary_dim} of {self.head_dim} dimensions cannot be rotated in pairs", where="rotary_dim"
            )
        for factors in (self.rope.factors, self.rope.long_factors):
            if factors and len(factors) != self.rotary // 2:
                raise InputError(
                    f"{len(factors)} rope factors for {self.rotary // 2} rotary pairs", where="rope.factors"
                )

    @property
    def heads_per_kv(self) -> int:
        """G, query heads that share one key-value head."""
        return self.heads // self.kv_heads

    @property
    def rotary(self) -> int:
        """How many dimensions of a head are rotated."""
        return self.rotary_dim or self.head_dim

    @property
    def longest_path(self) -> int:
        """The longest path that is computed as the model was made for, in tokens: the first window of LongRoPE."""
        long = self.rope.kind == "longrope"
        return min(self.max_positions, self.rope.original_max_positions) if long else self.max_positions

    @property
    def window(self) -> int | None:
        """The sliding window every layer has, or None where no layer has one.

        Raises:
          InputError: the layers differ; read ``windows`` instead.
        """
        distinct = set(self.windows)
        if len(distinct) > 1:
            raise InputError("the layers' windows differ", where="windows", fix="read `windows`")
        return (distinct.pop() or None) if distinct else None

    @classmethod
    def from_hf(cls, config_json: Mapping[str, Any]) -> DecoderConfig:
        """Reads a Hugging Face ``config.json`` (transformers 4 and 5 spellings).

        Args:
          config_json: the parsed file; ``model_type`` one of ``config_files.FAMILIES``, or gemma3 (its text part).

        Raises:
          InputError: another model type, or a field value this decoder does not compute.
        """
        return cls(**fields_from_hf(config_json))

    @classmethod
    def from_gguf(
        cls,
        metadata: Mapping[str, Any],
        *,
        tie_embeddings: bool,
        rope_factors: tuple[float, ...] = (),
    ) -> DecoderConfig:
        """Reads the metadata of a GGUF file.

        Args:
          metadata: GGUF key -> value; ``general.architecture`` one of ``config_gguf.FAMILIES``.
          tie_embeddings: whether the file lacks ``output.weight``; the metadata do not say.
          rope_factors: the tensor ``rope_freqs.weight`` where the file has it.

        Raises:
          InputError: another architecture, a missing key, or a value not computed here.
        """
        return cls(**fields_from_gguf(metadata, tie_embeddings, rope_factors))
