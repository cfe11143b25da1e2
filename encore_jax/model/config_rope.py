"""Reading rotary positions from Hugging Face's config.json: their bases, and how they are stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape
from encore_jax.model.config_shape import Rope, needed, one_value, unsupported
from encore_jax.model.rope_scaling import KINDS, LONGROPE, RopeScaling, longrope_scaling, rope_scaling

BASE = 10_000.0
GLOBAL_BASE = 1_000_000.0
"""Gemma 3's, of layers without a window."""
_SIZES = ("hidden_size", "num_attention_heads")
LONGROPE_FIELDS = frozenset({
    "type", "rope_type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings", "factor",
    "attention_factor", "short_factor", "long_factor",
})  # fmt: skip
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
    new, old = (_bare(config.get(name)) for name in ("rope_parameters", "rope_scaling"))
    if new and old and any(new[name] != old[name] for name in new.keys() & old.keys()):
        one_value("config.json", rope_parameters=new, rope_scaling=old)
    given, where = config.get(field) or {}, f"config.json, field {field!r}"
    if family == "gemma3_text":
        return _two_bases(config, given, field, max_positions)
    if family == "phi3":
        return _phi3(config, given, max_positions, where)
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise unsupported(where, f"separate rope for {name[:40]}", ("one rope for all layers",))
    theta, scaling = _read(given, config, max_positions, where)
    return {"rope_theta": theta, "rope": scaling}


def _bare(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields that are said, under their newer names."""
    said = {name: value for name, value in (given or {}).items() if value is not None}
    return said | ({"rope_type": said["type"]} if "type" in said and "rope_type" not in said else {})


def _kind(given: Mapping[str, Any], where: str) -> str:
    """The kind of stretching; "su" is what Phi-3's files called LongRoPE first."""
    names = {name: LONGROPE[0] if given.get(name) in LONGROPE else given.get(name) for name in ("rope_type", "type")}
    return one_value(where, **names) or "default"


def _inside_or_beside(given: Mapping[str, Any], config: Mapping[str, Any], name: str, beside: str = "") -> Any:
    """A field of rope's object that may also stand beside it, perhaps under another name."""
    beside = beside or name
    field = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    return one_value("config.json", **{f"{field}__{name}": given.get(name), beside: config.get(beside)})


def _two_bases(config, given: Mapping[str, Any], field: str, max_positions: int) -> dict[str, Any]:
    """Gemma 3's: of each kind of layers, or in the older spelling two bases and how the global one is stretched."""
    kinds, where = ("full_attention", "sliding_attention"), f"config.json, field {field!r}"
    if field == "rope_scaling":
        given = {kinds[0]: given}
    for name, value in given.items():
        if name not in kinds or not isinstance(value, Mapping | None):
            raise unsupported(where, name[:40], kinds)
    whole, local = (given.get(kind) or {} for kind in kinds)
    theta, scaling = _read(whole, config, max_positions, f"{where}, {kinds[0]!r}", otherwise=GLOBAL_BASE)
    place = f"{where}, {kinds[1]!r}"
    local_theta, stretched = _read(local, config, max_positions, place, beside="rope_local_base_freq")
    if stretched != RopeScaling():
        raise unsupported(place, stretched.kind, ("default",))
    return {"rope_theta": theta, "rope": scaling, "local_rope_theta": local_theta}


def _phi3(config, given: Mapping[str, Any], max_positions: int, where: str) -> dict[str, Any]:
    """A share of a head's dimensions is rotated, with LongRoPE or plainly."""
    check_shape(dict(given), Rope, where=where)
    share = _inside_or_beside(given, config, "partial_rotary_factor") or 1.0
    width, heads = (needed(config.get(name), f"config.json, field {name!r}") for name in _SIZES)
    whole = config.get("head_dim") or width // heads
    rotary = int(whole * share)
    if rotary % 2 or not rotary:
        raise unsupported("config.json, field 'partial_rotary_factor'", share, (1.0, "a share that leaves pairs"))
    fields = {"rotary_dim": 0 if rotary == whole else rotary}
    plain = {name: value for name, value in given.items() if name != "partial_rotary_factor"}
    kind = _kind(given, where)
    if kind not in LONGROPE:
        if kind != "default":
            raise unsupported(where, kind, ("default", LONGROPE[0]))
        theta, scaling = _read(plain, config, max_positions, where)
        return fields | {"rope_theta": theta, "rope": scaling}
    original = _inside_or_beside(given, config, "original_max_position_embeddings") or PHI3_ORIGINAL_LENGTH
    place = "config.json, field 'original_max_position_embeddings'"
    if original < 2:
        raise unsupported(place, original, (PHI3_ORIGINAL_LENGTH,))
    if original > max_positions:
        problem = f"{original} tokens before they were stretched, and 'max_position_embeddings' is {max_positions}"
        raise InputError(problem, where=place, fix="use the model's own config.json")
    for name in given.keys() - LONGROPE_FIELDS:
        if given[name]:
            raise unsupported(f"{where}, {name[:40]!r}", given[name], (None,))
    theta = float(_inside_or_beside(given, config, "rope_theta") or BASE)
    return fields | {"rope_theta": theta, "rope": longrope_scaling(given, max_positions, original, where)}


def _read(
    given: Mapping[str, Any],
    config: Mapping[str, Any],
    max_positions: int,
    where: str,
    beside: str = "rope_theta",
    otherwise: float = BASE,
) -> tuple[float, RopeScaling]:
    """Base and scaling from one mapping of rope's fields, `beside` which config.json may name the base."""
    check_shape(dict(given), Rope, where=where)
    theta = float(_inside_or_beside(given, config, "rope_theta", beside) or otherwise)
    kind = _kind(given, where)
    if given.get("partial_rotary_factor") not in (1.0, None):
        raise unsupported(where, given["partial_rotary_factor"], (1.0,))
    if kind not in KINDS:
        raise unsupported(where, kind, KINDS)
    for name in given.keys() - (Rope.__annotations__.keys() - {"short_factor", "long_factor"}):
        if given[name]:
            raise unsupported(f"{where}, {name[:40]!r}", given[name], (None,))
    return theta, rope_scaling(kind, given, max_positions, where)
