"""Scores beside ratings that nobody trained on: what a model's intervals are computed from, and kept with it.

All of it is kept, not only the radii, so that other weights, another rule graph or another coverage get intervals of
their own. It is small: two numbers for each rating.

Letters: R rated responses, K rules.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from absl import logging

from encore_jax.composition.conformal import COVERAGE, COVERAGES, fewest_prompts
from encore_jax.data.atomic import atomic_path
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError
from encore_jax.reward.passport import CalibrationNote, Passport

CALIBRATION = "intervals.npz"
"""The file beside a saved or exported model. No loader of weights takes it for one of its own."""
HELD_OUT, OUT_OF_FOLD = "held-out ratings", "out-of-fold scores of the training ratings"
"""How a calibration came about: by this very model, or by heads each of which saw no rating of the same prompt."""
_KINDS = {"scores": ("f", 2), "ratings": ("f", 2), "prompt": ("iu", 1)}
_STORED = _KINDS | {"by": ("U", 0), "coverage": ("f", 0)}
_MUST_BE = {
    "scores": "finite numbers of floating point, [R, K] with at least one of each",
    "ratings": "numbers of floating point, [R, K] as the scores, NaN where there is none, and one that is not NaN",
    "prompt": "whole numbers [R]",
    "by": f"{HELD_OUT!r} or {OUT_OF_FOLD!r}",
    "coverage": f"a number from {COVERAGES[0]} to {COVERAGES[1]}",
}
"""What the file may hold, by array."""
_AGAIN = (
    f"save the model again; or set the passport's 'intervals' to null, load the model and calibrate it anew: "
    f"model.calibrated(rated, coverage={COVERAGE})"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and ratings of R responses on K rules.

    Attributes:
      scores: fp32 ``[R, K]``, finite.
      ratings: fp32 ``[R, K]``, NaN where there is none.
      prompt: int ``[R]``, equal for responses to one prompt.
      by: how it came about, `HELD_OUT` or `OUT_OF_FOLD`.
      coverage: probability with which an interval is to hold the rating.

    Raises:
      InputError: shapes that do not fit, scores that are not finite, infinite ratings, or a coverage that is none.

    >>> few = Calibration(np.zeros((2, 1)), np.ones((2, 1)), np.array([0, 1]), HELD_OUT)
    >>> few.note.prompts, few.note.coverage
    (2, 0.9)
    """

    scores: np.ndarray
    ratings: np.ndarray
    prompt: np.ndarray
    by: str
    coverage: float = COVERAGE

    def __post_init__(self):
        for name in ("scores", "ratings"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.float32))
        object.__setattr__(self, "prompt", np.ascontiguousarray(self.prompt, np.int64))
        where, shape = "calibration", self.scores.shape
        if len(shape) != 2 or self.ratings.shape != shape or self.prompt.shape != shape[:1] or not self.scores.size:
            problem = f"scores {shape}, ratings {self.ratings.shape} and prompts {self.prompt.shape}"
            raise InputError(problem, where=where, fix="pass [R, K], [R, K] and [R], with at least one response")
        if not np.isfinite(self.scores).all() or np.isinf(self.ratings).any():
            raise InputError("holds numbers that are not finite", where=where, fix="mark missing ratings by NaN")
        if not np.isfinite(self.ratings).any():
            raise InputError("holds no rating", where=where, fix="pass rated responses")
        fewest_prompts(self.coverage)

    @property
    def mask(self) -> np.ndarray:
        """Which ratings exist, bool ``[R, K]``."""
        return ~np.isnan(self.ratings)

    @property
    def note(self) -> CalibrationNote:
        """What the passport says of it; tells this calibration from any other."""
        digest = hashlib.sha256(repr((self.by, float(self.coverage), self.scores.shape)).encode())
        for array in (self.scores, np.where(self.mask, self.ratings, np.float32(np.nan)), self.prompt):
            digest.update(np.ascontiguousarray(array).tobytes())
        rated = self.mask.any(1)
        prompts = len(np.unique(self.prompt[rated]))
        return CalibrationNote(float(self.coverage), self.by, int(rated.sum()), prompts, digest.hexdigest())

    def save(self, folder: Path) -> None:
        """Writes `CALIBRATION` into a folder, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _KINDS}
        with atomic_path(Path(folder) / CALIBRATION) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays, by=np.array(self.by), coverage=np.array(float(self.coverage)))

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """What `save` wrote.

        Raises:
          InputError: the file is missing or damaged, or holds something else.
        """
        path = Path(folder) / CALIBRATION
        try:
            values = read_npz(path)
        except InputError as error:
            raise InputError(error.problem, where=error.where, fix=error.fix or _AGAIN) from None
        for name, (kinds, axes) in _STORED.items():
            array = values.get(name)
            if array is None or array.dtype.kind not in kinds or array.ndim != axes:
                found = "is missing" if array is None else f"holds {str(array.dtype)[:40]} of {array.ndim} axes"
                raise _wrong(path, name, found)
        by, coverage = str(values["by"]), float(values["coverage"])
        if by not in (HELD_OUT, OUT_OF_FOLD):
            raise _wrong(path, "by", f"is {by[:80]!r}")
        if not COVERAGES[0] <= coverage <= COVERAGES[1]:
            raise _wrong(path, "coverage", f"is {coverage:g}")
        with np.errstate(over="ignore"):
            scores, ratings = (values[name].astype(np.float32) for name in ("scores", "ratings"))
        prompt = values["prompt"]
        if not scores.size or not np.isfinite(scores).all():
            raise _wrong(path, "scores", "holds a number that is not finite" if scores.size else "is empty")
        if ratings.shape != scores.shape:
            raise _wrong(path, "ratings", f"is {ratings.shape} beside scores {scores.shape}")
        if np.isinf(ratings).any() or np.isnan(ratings).all():
            raise _wrong(path, "ratings", "holds infinity" if np.isinf(ratings).any() else "holds only NaN")
        if prompt.shape != scores.shape[:1]:
            raise _wrong(path, "prompt", f"is {prompt.shape} beside scores {scores.shape}")
        return cls(scores, ratings, prompt, by, coverage)


def _wrong(path: Path, name: str, found: str) -> InputError:
    return InputError(f"{found}; it must be {_MUST_BE[name]}", where=f"{path}, array {name!r}", fix=_AGAIN)


def read_calibration(folder: Path, note: CalibrationNote | None) -> Calibration | None:
    """The calibration that a passport names; None where it names none.

    Raises:
      InputError: the file is missing or damaged, or is another model's.
    """
    if note is None:
        return None
    found = Calibration.load(folder)
    if found.note != note:
        problem = "is not the calibration that the passport names"
        raise InputError(problem, where=str(Path(folder) / CALIBRATION), fix=_AGAIN)
    return found


def kept_calibration(folder: Path, stored: Passport, passport: Passport) -> Calibration | None:
    """The calibration in a model's folder, unless the model is used though it is not the one that was calibrated.

    Args:
      folder: of the model.
      stored: its passport, as the file says.
      passport: with what was found when the model was loaded.

    Raises:
      InputError: as `read_calibration`.
    """
    if stored.intervals is not None and passport.mismatch != stored.mismatch:
        said = "%s: no intervals: the model that was calibrated is another one (%s)"
        logging.warning(said, folder, "; ".join(passport.mismatch[len(stored.mismatch) :]))
        return None
    return read_calibration(folder, stored.intervals)
