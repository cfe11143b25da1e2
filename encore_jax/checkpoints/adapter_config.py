"""PEFT's ``adapter_config.json``: which fields are understood, with which values; everything else is refused by name.

Plain LoRA is ``W + s B A`` with ``s = alpha / r``, or ``alpha / sqrt(r)`` (rsLoRA, arXiv 2312.03732). Most of PEFT's
other options look the same in the files and mean something else: PiSSA and its relatives have changed the base's
weights, aLoRA updates only some tokens, QALoRA pools what it reads, DoRA and KaSA have further factors. So a field
counts as harmless only if it stands in one of the tables below.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, read_json

CONFIG = "adapter_config.json"
SCORE_MODULES = ("score", "classifier")
"""Modules saved whole that PEFT names for every classifier; of these families only the first exists."""

# Fields (PEFT 0.21 and older) that change what an adapter computes, with the only values computed here. A field that is
# in none of the tables may be None or False, which is how PEFT writes an option that is not used.
_REQUIRED: dict[str, tuple] = {
    "peft_type": ("LORA",),
    "task_type": ("SEQ_CLS", "CAUSAL_LM", None),
    "init_lora_weights": (True, False, "gaussian", None),  # others change the base's weights, or may
    "bias": ("none", None),
    "use_dora": (False, None),
    "use_qalora": (False, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "ensure_weight_tying": (False, None),
    "layers_pattern": (None, "", [], "layers", ["layers"]),
    "alpha_pattern": (None, {}),
    "loftq_config": (None, {}),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
    "enable_lora": (None, False, []),
}
_UNUSED = (None, False)
# Fields from which nothing is computed.
_IGNORED = (
    "auto_mapping",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "merge_weights",
    "peft_version",
    "qalora_group_size",
)
_Rank = Annotated[int, Meta(ge=1, le=2**20)]


class _Read(TypedDict, total=False):
    """The fields whose values are used."""

    base_model_name_or_path: str | None
    revision: str | None
    r: _Rank
    lora_alpha: Annotated[float, Meta(ge=-1e30, le=1e30)]
    use_rslora: bool | None
    rank_pattern: dict[str, _Rank] | None
    target_modules: list[str] | str | None
    exclude_modules: list[str] | str | None
    modules_to_save: list[str] | None
    layers_to_transform: list[int] | int | None


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What an adapter computes, and for which base model.

    Attributes:
      where: the file, for errors.
      base: name or path of its base model.
      revision: of the base model, on the hub; None: any.
      alpha, rslora: its scale.
      ranks: that its matrices may have.
      targets: modules that have updates, by the ends of their names; None: whichever have tensors.
      excluded: modules that have none.
      layers: that have updates; None: all.
      starts_at_zero: whether a module without tensors is as in the base.
      own_score: whether the adapter must hold the head whole.
    """

    where: str
    base: str
    revision: str | None
    alpha: float
    rslora: bool
    ranks: frozenset[int]
    targets: tuple[str, ...] | None
    excluded: tuple[str, ...]
    layers: frozenset[int] | None
    starts_at_zero: bool
    own_score: bool

    def scale(self, rank: int) -> float:
        """s, of matrices of this rank."""
        return self.alpha / (math.sqrt(rank) if self.rslora else rank)

    def adapts(self, module: str) -> bool:
        """Whether PEFT would put an update on a module of the base, e.g. ``model.layers.0.self_attn.q_proj``."""
        if _ends(module, self.excluded) or not (self.targets is None or _ends(module, self.targets)):
            return False
        number = module.partition(".layers.")[2].partition(".")[0]
        return self.layers is None or (number.isdigit() and int(number) in self.layers)


def _ends(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in names)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Reads a folder's ``adapter_config.json``.

    Raises:
      InputError: an adapter of another kind, or a field that is not understood; naming it.
    """
    path = folder / CONFIG
    content = read_json(path, dict[str, Any], max_bytes=4 << 20, unique_keys=True, fix=_MERGE)
    for name, value in content.items():
        _check_field(name, value, str(path))
    fields = check_shape(content, _Read, where=str(path), fix=_MERGE)
    for name in ("peft_type", "r", "lora_alpha"):
        if name not in content:
            raise InputError("is missing", where=f"{path}, field {name!r}", fix="save the adapter again with PEFT")
    base = fields.get("base_model_name_or_path")
    if not base:
        raise InputError("there is no base model", where=f"{path}, field 'base_model_name_or_path'",
                         fix="put the base model's folder or hub name there")  # fmt: skip
    modules = fields.get("modules_to_save") or []
    own_score = content.get("task_type") == "SEQ_CLS" or "score" in modules
    for name in modules:
        if name not in SCORE_MODULES:
            raise _refused(path, "modules_to_save", name, SCORE_MODULES)
    layers = fields.get("layers_to_transform")
    return AdapterConfig(
        where=str(path),
        base=base,
        revision=fields.get("revision") or None,
        alpha=float(fields["lora_alpha"]),
        rslora=bool(fields.get("use_rslora")),
        ranks=frozenset([fields["r"], *(fields.get("rank_pattern") or {}).values()]),
        targets=_names(fields.get("target_modules")),
        excluded=(*(_names(fields.get("exclude_modules")) or ()), *(SCORE_MODULES if own_score else ())),
        layers=frozenset([layers] if isinstance(layers, int) else layers) if layers not in (None, []) else None,
        starts_at_zero=content.get("init_lora_weights", True) is not False,
        own_score=own_score,
    )


_MERGE = "merge it into its base with PEFT first (merge_and_unload), and load the result"


def _check_field(name: str, value: Any, path: str) -> None:
    if name in _IGNORED or name in _Read.__annotations__:
        return
    allowed = _REQUIRED.get(name, _UNUSED)
    if not any(value == a and type(value) is type(a) for a in allowed):  # by type too, since 1 == True
        raise _refused(path, name, value, allowed)


def _refused(path: str | Path, name: str, value: Any, allowed: tuple) -> InputError:
    known = " or ".join(repr(a) for a in allowed if a or a is False) if any(allowed) else ""
    fix = f"use an adapter where it is {known}, or {_MERGE}" if known else f"use one without it, or {_MERGE}"
    return InputError(f"{repr(value)[:100]} is not supported", where=f"{path}, field {name[:100]!r}", fix=fix)


def _names(modules: list[str] | str | None) -> tuple[str, ...] | None:
    """Ends of module names. A single text is a pattern of PEFT's: then the tensors say which modules there are."""
    return tuple(modules) if isinstance(modules, list) else None
