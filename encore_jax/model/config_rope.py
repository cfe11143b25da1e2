"""Reading rotary positions from Hugging Face's config.json: their bases, and how they are stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape
from encore_jax.model.config_shape import Rope, needed, unsupported
from encore_jax.model.rope_scaling import KINDS, LONGROPE, RopeScaling, longrope_scaling, rope_scaling

BASE = 10_000.0
GLOBAL_BASE = 1_000_000.0
"""Gemma 3's, of layers without a window."""
_SIZES = ("hidden_size", "num_attention_heads")
PHI3_ORIGINAL_LENGTH = 4096
"""What its configuration class assumes."""


def rope_fields(config: Mapping[str, Any], family: str, max_positions: int) -> dict[str, Any]:
    """``rope_theta``, ``rope`` and ``local_rope_theta`` of a ``DecoderConfig``.

    Args:
      config: the fields of the decoder, which say it in ``rope_parameters`` or the older ``rope_scaling``.
      family: whose defaults count; Gemma 3's layers with a window have a base of their own.
      max_positions: the original length where none is given.

    Raises:
      InputError: a kind of stretching, or a number, that is not computed here.
    """
    field = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    given, where = config.get(field) or {}, f"config.json, field {field!r}"
    if family == "gemma3_text":
        return _two_bases(config, given, field, max_positions)
    if family == "phi3":
        return _phi3(config, given, max_positions, where)
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise unsupported(where, f"separate rope for {name[:40]}", ("one rope for all layers",))
    theta, scaling = _read(given, config.get("rope_theta") or BASE, max_positions, where)
    return {"rope_theta": theta, "rope": scaling}


def _two_bases(config, given: Mapping[str, Any], field: str, max_positions: int) -> dict[str, Any]:
    """Gemma 3's: of each kind of layers, or in the older spelling two bases and how the global one is stretched."""
    kinds, where = ("full_attention", "sliding_attention"), f"config.json, field {field!r}"
    if field == "rope_scaling":
        given = {kinds[0]: given}
    for name, value in given.items():
        if name not in kinds or not isinstance(value, Mapping | None):
            raise unsupported(where, name[:40], kinds)
    whole, local = (given.get(kind) or {} for kind in kinds)
    theta, scaling = _read(whole, config.get("rope_theta") or GLOBAL_BASE, max_positions, f"{where}, {kinds[0]!r}")
    place = f"{where}, {kinds[1]!r}"
    local_theta, stretched = _read(local, config.get("rope_local_base_freq") or BASE, max_positions, place)
    if stretched != RopeScaling():
        raise unsupported(place, stretched.kind, ("default",))
    return {"rope_theta": theta, "rope": scaling, "local_rope_theta": local_theta}


def _phi3(config, given: Mapping[str, Any], max_positions: int, where: str) -> dict[str, Any]:
    """A share of a head's dimensions is rotated, with LongRoPE or plainly."""
    check_shape(dict(given), Rope, where=where)
    share = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    width, heads = (needed(config.get(name), f"config.json, field {name!r}") for name in _SIZES)
    whole = config.get("head_dim") or width // heads
    rotary = int(whole * share)
    if rotary % 2 or not rotary:
        raise unsupported("config.json, field 'partial_rotary_factor'", share, (1.0, "a share that leaves pairs"))
    fields = {"rotary_dim": 0 if rotary == whole else rotary}
    plain = {name: value for name, value in given.items() if name != "partial_rotary_factor"}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in LONGROPE:
        if kind != "default":
            raise unsupported(where, kind, ("default", LONGROPE[0]))
        theta, scaling = _read(plain, config.get("rope_theta") or BASE, max_positions, where)
        return fields | {"rope_theta": theta, "rope": scaling}
    lengths = {one.get("original_max_position_embeddings") for one in (given, config)} - {None}
    if len(lengths) > 1:
        said = f"it is {' and '.join(map(str, sorted(lengths)))} in one file"
        raise InputError(said, where="config.json, field 'original_max_position_embeddings'", fix="keep the right one")
    original = (
        given.get("original_max_position_embeddings")
        or config.get("original_max_position_embeddings")
        or PHI3_ORIGINAL_LENGTH
    )
    if original < 2:
        raise unsupported("config.json, field 'original_max_position_embeddings'", original, (PHI3_ORIGINAL_LENGTH,))
    theta = float(given.get("rope_theta") or config.get("rope_theta") or BASE)
    return fields | {"rope_theta": theta, "rope": longrope_scaling(given, max_positions, original, where)}


def _read(given: Mapping[str, Any], base: float, max_positions: int, where: str) -> tuple[float, RopeScaling]:
    """Base and scaling from one mapping of rope's fields."""
    check_shape(dict(given), Rope, where=where)
    theta = float(given.get("rope_theta") or base)
    kind = given.get("rope_type") or given.get("type") or "default"
    if given.get("partial_rotary_factor") not in (1.0, None):
        raise unsupported(where, given["partial_rotary_factor"], (1.0,))
    if kind not in KINDS:
        raise unsupported(where, kind, KINDS)
    for name in given.keys() - (Rope.__annotations__.keys() - {"short_factor", "long_factor"}):
        if given[name]:
            raise unsupported(f"{where}, {name[:40]!r}", given[name], (None,))
    return theta, rope_scaling(kind, given, max_positions, where)
