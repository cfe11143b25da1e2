"""The passport: everything a score depends on besides the weights themselves."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from encore_jax.data.sources import NOT_READ
from encore_jax.errors import InputError

Pooling = Literal["last", "hf"]
PASSPORT = "passport.json"
"""The file beside whatever a passport belongs to."""


@dataclasses.dataclass(frozen=True)
class Passport:
    """What must match for two scores to be comparable; stored with features, heads and results.

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
    mismatch: tuple[str, ...] = ()

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
    def from_dict(cls, values: dict) -> Passport:
        """The inverse of `to_dict`.

        Raises:
          InputError: a field is missing, unknown, or not a list where one is needed.
        """
        fields, lists = dataclasses.fields(cls), ("rules", "entropy", "weights", "mismatch")
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
        for what, names in (
            ("lacks", needed - values.keys()),
            ("has an unknown", values.keys() - {field.name for field in fields}),
            ("needs a list as", {name for name in lists if not isinstance(values.get(name, ()), (list, tuple))}),
        ):
            if names:
                raise InputError(
                    f"it {what} {', '.join(sorted(names))}", where="passport", fix="write it with this version"
                )
        return cls(**{name: tuple(value) if name in lists else value for name, value in values.items()})

    @property
    def feature_digest(self) -> str:
        """Hash of the fields that a text's features depend on."""
        picked = {name: getattr(self, name) for name in self.FEATURE_FIELDS}
        return hashlib.sha256(json.dumps(picked, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Passport) -> list[str]:
        """One line per field that differs, "field: mine != theirs"; empty when scores are comparable."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]!r} != {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]

    def checked(self, found: Mapping[str, Any], where: str, *, allow: bool = False) -> Passport:
        """This passport, if what was found when loading agrees with it.

        Args:
          found: fields and their values as they are in fact.
          where: what was loaded.
          allow: a difference is recorded in the result's `mismatch` instead of refused.

        Raises:
          InputError: with every difference.
        """
        mine = self.to_dict()
        found = json.loads(json.dumps(dict(found)))
        differ = [f"{name}: {mine[name]!r} in the passport, {found[name]!r} here" for name in found
                  if mine[name] != found[name]]  # fmt: skip
        if differ and not allow:
            raise InputError(
                f"scores would not be those its passport stands for: {'; '.join(differ)}",
                where=where,
                fix="use what the passport was made with, or allow the mismatch (--allow-mismatch), which is recorded",
            )
        return dataclasses.replace(self, mismatch=(*self.mismatch, *differ)) if differ else self


def read_passport(folder: Path) -> Passport:
    """The passport in a folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    path = folder / PASSPORT
    try:
        return Passport.from_dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix="name a saved reward model's folder") from None
    except (ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise InputError(error.problem, where=str(path), fix=error.fix) from None
        raise InputError(f"cannot be read: {error}", where=str(path), fix="save the model again") from None


def model_digest(path: Path) -> str:
    """One hash over the files of a model and its tokenizer: a file, or a folder's weights, settings and templates.

    A passport that lies beside them is not one of them: it holds this hash. Neither is what a hub's repository holds
    besides (`encore_jax.data.sources.NOT_READ`).
    """
    suffixes = (".safetensors", ".json", ".jinja", ".model")
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in suffixes)
    others = (PASSPORT, *NOT_READ)
    lines = [f"{p.name}:{_sha256(p)}" for p in files if not any(fnmatch.fnmatch(p.name, other) for other in others)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
