"""What a rating run or a panel has made, whole: rules, comparisons and rated responses in its work directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from encore_jax.data.manifest import MANIFEST, check_one_run
from encore_jax.errors import InputError

STAGES = ("panel", "rate")
"""Stages that leave ratings, the last one of a run first."""


class RatingRun(NamedTuple):
    """Files of a finished rating run; ratings are on the scale from 0 to 1, whatever the judge's own.

    Attributes:
      pool: the rules.
      comparisons: with their ratings.
      rated: every different response that has a rating, once.
    """

    pool: Path
    comparisons: Path
    rated: Path


def rating_run(folder: str | Path) -> RatingRun:
    """The files of the run in a work directory.

    Raises:
      InputError: there is no such folder, no rating run's, or one that is not finished.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("there is no such folder", where=str(folder), fix="name the work directory of a rating run")
    for stage in (*(folder / name for name in STAGES), folder):
        found = RatingRun(*(stage / name for name in ("pool.yaml", "comparisons.jsonl", "rated.jsonl")))
        if all(path.is_file() for path in found):
            if not (stage / MANIFEST).is_file():
                raise InputError("is not finished", where=str(stage), fix="run the command that made it to its end")
            check_one_run(stage)
            return found
    raise InputError(
        "holds no ratings of a finished rating run",
        where=str(folder),
        fix="name the work directory of `encore rate`, e.g. runs/rate_server",
    )
