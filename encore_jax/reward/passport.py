"""The passport: everything a score depends on besides the weights themselves."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from encore_jax.checkpoints.finite import LARGEST
from encore_jax.composition.conformal import COVERAGES
from encore_jax.data.digest import file_sha256
from encore_jax.data.sources import NOT_READ
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, decode_json, read_bytes
from encore_jax.rules.graph import RuleGraph

Pooling = Literal["last", "hf"]
DTYPES = ("float32", "bfloat16", "float16")
"""Of weights and computation."""
PASSPORT = "passport.json"
"""The file beside whatever a passport belongs to."""
PER_RULE = ("entropy", "weights", "loading", "agreement")
"""Fields with one number per rule, or none."""


@dataclasses.dataclass(frozen=True)
class CalibrationNote:
    """Which calibration a model's intervals come from (`encore_jax.reward.calibration`).

    Attributes:
      coverage: probability with which an interval is to hold the rating.
      by: how scores and ratings came together.
      responses, prompts: how many rated responses, of how many prompts.
      sha256: of scores and ratings.
    """

    coverage: float
    by: str
    responses: int
    prompts: int
    sha256: str

    def check(self, where: str) -> None:
        """Makes sure that intervals can come from it.

        Raises:
          InputError: names the field, and what it may be.
        """
        low, high = COVERAGES
        faults = {
            "coverage": (low <= self.coverage <= high, f"from {low} to {high}"),
            "prompts": (1 <= self.prompts <= self.responses, f"from 1 to the {self.responses} responses"),
            "sha256": (bool(re.fullmatch("[0-9a-f]{64}", self.sha256)), "64 hexadecimal digits"),
        }
        for name, (right, allowed) in faults.items():
            if not right:
                problem = f"is {repr(getattr(self, name))[:80]}; it must be {allowed}"
                raise InputError(problem, where=f"{where}, {name}", fix=f"{_AGAIN}; without intervals, write null")


@dataclasses.dataclass(frozen=True)
class Passport:
    """What must match for two scores to be comparable; stored with features, heads and results.

    >>> import dataclasses
    >>> [field.name for field in dataclasses.fields(Passport)][:3]
    ['model', 'model_sha256', 'template_sha256']

    Attributes:
      model: name or path of the backbone, as given.
      model_sha256: of the weight file(s).
      template_sha256: of the chat template, with its date pinned.
      bos: how the beginning-of-sequence token gets into a sequence.
      pooling: which token's hidden state is scored: "last" (ours) or "hf" (transformers' convention).
      pad_id: padding token id, or -1.
      dtype: of weights and computation, e.g. "float32".
      max_length: longest sequence scored, in tokens; longer ones are dropped whole.
      rules: names, in head order.
      pool_sha256: of the rule pool.
      data_revision: hash or revision of the rated data.
      entropy, weights: per rule, once known.
      weighting: how the weights were made, e.g. "ENCORE", "agreement", "uniform", "given"; "" in files that do not say.
      loading: per rule, how strongly its scores follow what the rules have in common, once known; 0 where unknown.
      agreement: weights that agreement gives these rules; empty if it gives none, or nobody asked.
      agreement_note: what the rules have in common, or why agreement gives no weights.
      graph: vetoes and prerequisites between the rules, thresholds oriented; None if there are none.
      agreement_warning: why those weights may mislead; "" if nothing says so.
      intervals: which calibration its intervals come from; None if it has none.
      mismatch: how the model that is in use differs from the one this passport was made for, where that was allowed.
    """

    model: str
    model_sha256: str
    template_sha256: str
    bos: str
    pooling: Pooling
    pad_id: int
    dtype: str
    max_length: int
    rules: tuple[str, ...]
    pool_sha256: str
    data_revision: str
    entropy: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    weighting: str = ""
    loading: tuple[float, ...] = ()
    agreement: tuple[float, ...] = ()
    agreement_note: str = ""
    agreement_warning: str = ""
    mismatch: tuple[str, ...] = ()
    graph: RuleGraph | None = None
    intervals: CalibrationNote | None = None

    FEATURE_FIELDS: ClassVar[tuple[str, ...]] = (
        "model_sha256",
        "template_sha256",
        "bos",
        "pooling",
        "dtype",
        "max_length",
    )
    """What the features of a text depend on: the part that identifies a feature cache."""

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict, where: str = "passport") -> Passport:
        """The inverse of `to_dict`.

        Raises:
          InputError: a field is missing, unknown, of another type, or of a value that no passport can have.
        """
        values = check_shape(values, dict[str, Any], where=where, fix=_AGAIN)
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        for what, names in (
            ("lacks", {name for name, needed in fields.items() if needed} - values.keys()),
            ("has an unknown", values.keys() - fields.keys()),
        ):
            if names:
                listed = ", ".join(sorted(names)[:20])[:200]
                raise InputError(f"it {what} {listed}", where=where, fix="write it with this version")
        _one_of("pooling", values["pooling"], get_args(Pooling), where)
        passport = check_shape(values, cls, where=where, fix=_AGAIN)
        passport.check(where)
        return passport

    @classmethod
    def from_json(cls, content: str | bytes, where: str) -> Passport:
        """A passport as a file holds it.

        Raises:
          InputError: as `from_dict`; or it is no JSON.
        """
        return cls.from_dict(decode_json(content, dict[str, Any], where=where, fix=_AGAIN, unique_keys=True), where)

    def check(self, where: str) -> None:
        """Makes sure that scores can be computed by it.

        Raises:
          InputError: names the field.
        """
        _one_of("pooling", self.pooling, get_args(Pooling), where)
        _one_of("dtype", self.dtype, DTYPES, where)
        for name, least in (("pad_id", -1), ("max_length", 1)):
            if not least <= getattr(self, name) < 2**31:
                raise InputError(f"is {getattr(self, name)}; it must be at least {least}", where=f"{where}, {name}")
        if not self.rules or len(set(self.rules)) < len(self.rules) or not all(self.rules):
            problem = "there are none" if not self.rules else "one is given twice, or has no name"
            raise InputError(problem, where=f"{where}, rules", fix="give each head a name of its own")
        for name in PER_RULE:
            values = getattr(self, name)
            if len(values) not in (0, len(self.rules)):
                raise InputError(f"{len(values)} for {len(self.rules)} rules", where=f"{where}, {name}", fix=_AGAIN)
            for rule, value in zip(self.rules, values, strict=False):
                if not abs(value) <= LARGEST:  # NaN is not, either
                    raise InputError(f"is {value}, no number of fp32", where=f"{where}, {name} of rule {rule!r}",
                                     fix=_AGAIN)  # fmt: skip
        if self.graph is not None:
            self.graph.check(self.rules, [1] * len(self.rules), f"{where}, graph")
        if self.intervals is not None:
            self.intervals.check(f"{where}, intervals")

    @property
    def feature_digest(self) -> str:
        """Hash of the fields that a text's features depend on."""
        picked = {name: getattr(self, name) for name in self.FEATURE_FIELDS}
        return hashlib.sha256(json.dumps(picked, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Passport) -> list[str]:
        """One line per field that differs, "field: mine != theirs"; empty when scores are comparable."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]!r} != {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]

    def checked(
        self, found: Mapping[str, Any], where: str, *, allow: bool = False, changed: tuple[str, ...] = ()
    ) -> Passport:
        """This passport, if what was found when loading agrees with it.

        Args:
          found: fields and their values as they are in fact.
          where: what was loaded.
          allow: a difference is recorded in the result's `mismatch` instead of refused; its fields are as found, so
            that what is computed by them is what the record says.
          changed: files that are not those that were saved with it.

        Raises:
          InputError: with every difference.
        """
        mine = self.to_dict()
        found = json.loads(json.dumps(dict(found)))
        facts = {name: value for name, value in found.items() if mine[name] != value}
        differ = [
            f"{name}: {_short(mine[name])} in the passport, {_short(value)} here" for name, value in facts.items()
        ]
        differ += [f"{name}: not the file that was saved with the others" for name in changed]
        if differ and not allow:
            raise InputError(
                f"scores would not be those its passport stands for: {'; '.join(differ)}",
                where=where,
                fix="use what the passport was made with, or allow the mismatch (--allow-mismatch), which is recorded",
            )
        if not differ:
            return self
        facts = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        return dataclasses.replace(self, **facts, mismatch=(*self.mismatch, *differ))


def read_passport(folder: Path) -> Passport:
    """The passport in a folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = folder / PASSPORT
    content = read_bytes(path, fix="name a saved reward model's folder", max_bytes=4 << 20)
    return Passport.from_json(content, str(path))


_AGAIN = "save the model again"


def _short(value: Any) -> str:
    """A value as messages quote it: a list of a hundred rules is not what a line is for."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _one_of(name: str, value: Any, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise InputError(f"is {repr(value)[:100]}", where=f"{where}, {name}", fix=f"use one of {', '.join(allowed)}")


def model_digest(path: Path) -> str:
    """One hash over the files of a model and its tokenizer: a file, or a folder's weights, settings and templates.

    A passport that lies beside them is not one of them: it holds this hash. Neither is what a hub's repository holds
    besides (`encore_jax.data.sources.NOT_READ`).

    Raises:
      InputError: one of them is no regular file, or a link that leads nowhere.
    """
    suffixes = (".safetensors", ".json", ".jinja", ".model")
    files = [path] if not path.is_dir() else sorted(p for p in path.iterdir() if p.suffix in suffixes)
    others = (PASSPORT, *NOT_READ)
    lines = [f"{p.name}:{file_sha256(p)}" for p in files if not any(fnmatch.fnmatch(p.name, other) for other in others)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
