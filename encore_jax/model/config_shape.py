"""What the fields of a Hugging Face ``config.json`` that are read here must be: types and bounds."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from encore_jax.errors import InputError

Size = Annotated[int, Meta(ge=1, le=2**24)]
"""A width or a count of rows; no model comes near the bound, which keeps products within what can be computed."""
Layers = Annotated[int, Meta(ge=1, le=4096)]
Length = Annotated[int, Meta(ge=1, lt=2**31)]
"""In tokens: positions are int32."""
Positive = Annotated[float, Meta(gt=0, le=1e30)]
"""Neither NaN nor infinite."""
Experts = Annotated[int, Meta(ge=1, le=65536)]
Share = Annotated[float, Meta(gt=0, le=1)]
Base = Annotated[float, Meta(gt=1, le=1e30)]
"""Of rotary wavelengths."""

_Number = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]
"""As the key of an object."""


class Backbone(TypedDict, total=False):
    """What describes a decoder."""

    model_type: str
    vocab_size: Size | None
    hidden_size: Size | None
    intermediate_size: Size | None
    num_hidden_layers: Layers | None
    num_attention_heads: Size | None
    num_key_value_heads: Size | None
    head_dim: Size | None
    max_position_embeddings: Length | None
    original_max_position_embeddings: Length | None
    partial_rotary_factor: Share | None
    rms_norm_eps: Annotated[float, Meta(ge=0, le=1)] | None
    initializer_range: Annotated[float, Meta(ge=0, le=1e30)] | None
    rope_theta: Base | None
    rope_local_base_freq: Base | None
    rope_parameters: dict[str, object] | None
    rope_scaling: dict[str, object] | None
    tie_word_embeddings: bool | None
    sliding_window: Annotated[int, Meta(ge=0, lt=2**31)] | None
    use_sliding_window: bool | None
    max_window_layers: Annotated[int, Meta(ge=0, lt=2**31)] | None
    sliding_window_pattern: Annotated[int, Meta(ge=1, le=4096)] | None
    layer_types: Annotated[list[str], Meta(max_length=4096)] | None
    moe_intermediate_size: Size | None
    num_experts: Experts | None
    num_local_experts: Experts | None
    num_experts_per_tok: Experts | None
    norm_topk_prob: bool | None
    query_pre_attn_scalar: Positive | None
    attn_logit_softcapping: Positive | None
    final_logit_softcapping: Positive | None
    embedding_multiplier: Positive | None
    attention_multiplier: Positive | None
    residual_multiplier: Positive | None
    logits_scaling: Positive | None


class Multimodal(TypedDict, total=False):
    """A model of several parts, one of which is a decoder."""

    text_config: dict[str, object] | None


class Rope(TypedDict, total=False):
    """``rope_parameters``, or the older ``rope_scaling``."""

    rope_type: str | None
    type: str | None
    rope_theta: Base | None
    partial_rotary_factor: Share | None
    factor: Positive | None
    low_freq_factor: Positive | None
    high_freq_factor: Positive | None
    original_max_position_embeddings: Length | None
    beta_fast: Positive | None
    beta_slow: Positive | None
    truncate: bool | None
    attention_factor: Positive | None
    short_factor: Annotated[list[Positive], Meta(max_length=65536)] | None
    long_factor: Annotated[list[Positive], Meta(max_length=65536)] | None
    mscale: Positive | None
    mscale_all_dim: Positive | None
    finetuned: bool | None  # whether somebody trained at the stretched length; nothing is computed from it


class Classifier(TypedDict, total=False):
    """What describes the heads of a checkpoint, and how its files are used."""

    architectures: list[str] | None
    id2label: Annotated[dict[_Number, str], Meta(max_length=65536)] | None
    num_labels: Annotated[int, Meta(ge=1, le=65536)] | None
    pad_token_id: Annotated[int, Meta(ge=-1, lt=2**31)] | None
    dtype: str | None
    torch_dtype: str | None


def needed(value: Any, where: str) -> Any:
    """A field's value, which must be there."""
    if value is None:
        raise InputError("missing", where=where)
    return value


def one_value(where: str, **spellings: Any) -> Any:
    """The value of a field that has several spellings, or places; None where all are null.

    Args:
      where: the file.
      spellings: by name; a place within an object is written with two underscores, e.g. ``rope_scaling__factor``.

    Raises:
      InputError: two of them say different things.

    >>> one_value("config.json", num_experts=8, num_local_experts=None)
    8
    >>> one_value("config.json", num_experts=8, num_local_experts=4)
    Traceback (most recent call last):
    encore_jax.errors.InputError: config.json: 'num_experts' is 8 and 'num_local_experts' is 4, and both say the same \
thing. Fix: keep the right one
    """
    values = {name: value for name, value in spellings.items() if value is not None}
    first = next(iter(values), "")
    for name, value in values.items():
        if value != values[first]:
            (a, b), (said, other) = (_place(first), _place(name)), (repr(values[first])[:60], repr(value)[:60])
            problem = f"{a} is {said} and {b} is {other}, and both say the same thing"
            raise InputError(problem, where=where, fix="keep the right one")
    return values.get(first)


def _place(name: str) -> str:
    return ", ".join(map(repr, name.split("__")))


def unsupported(where: str, value: Any, allowed: tuple) -> InputError:
    """What to say of a field whose value is not computed here."""
    known = ", ".join(repr(a) for a in allowed if a is not None)
    fix = f"use a model where it is one of: {known}" if known else "use a model without it"
    return InputError(f"{repr(value)[:100]} is not supported", where=where, fix=fix)
