"""What a rating run or a panel has made, whole: rules, comparisons and rated responses in its work directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from encore_jax.data.lock import reader_lock
from encore_jax.data.manifest import FIX, MANIFEST, check_one_run, is_stage, kind_of_run, read_manifest
from encore_jax.errors import InputError

STAGES = {"panel": "panel", "rating": "rate"}
"""By kind of run, the stage that leaves ratings."""


class RatingRun(NamedTuple):
    """Files of a finished rating run; ratings are on the scale from 0 to 1, whatever the judge's own.

    Attributes:
      pool: the rules.
      comparisons: with their ratings.
      rated: every different response that has a rating, once; None where only the comparisons were saved.
    """

    pool: Path
    comparisons: Path
    rated: Path | None


def rating_run(folder: str | Path) -> RatingRun:
    """The files of the run in a work directory.

    Raises:
      InputError: there is no such folder, no rating run's, or one that is not finished or at work.
    """
    folder = Path(os.path.expanduser(folder))
    if not folder.is_dir():
        raise InputError("there is no such folder", where=str(folder), fix="name the work directory of a rating run")
    kind = kind_of_run(folder)
    stages = [STAGES[kind]] if kind in STAGES else [] if kind else list(STAGES.values())
    for stage in (*(folder / name for name in stages), folder):
        found = RatingRun(*(stage / name for name in ("pool.yaml", "comparisons.jsonl", "rated.jsonl")))
        begun, whole = is_stage(stage), all(path.is_file() for path in found)
        if not whole and not (begun and stage.name in STAGES.values()):
            continue
        if begun and not (stage / MANIFEST).is_file():
            with reader_lock(stage.parent):  # says who is at work
                raise InputError("is not finished", where=str(stage), fix=FIX)
        if whole or all(path.name in read_manifest(stage).outputs for path in found):
            check_one_run(stage)
            return found
    if not is_stage(folder) and not kind and found.pool.is_file() and found.comparisons.is_file():
        return found._replace(rated=None)  # as `enc.rate(...).save` leaves it
    if kind in STAGES:
        with reader_lock(folder):
            raise InputError("is a rating run that is not finished", where=str(folder), fix=FIX)
    what = f"holds a run of another kind ({kind}), and no ratings" if kind else "holds no ratings of a rating run"
    raise InputError(what, where=str(folder), fix=_instead(folder))


def _instead(folder: Path) -> str:
    """What to give instead of a folder without ratings."""
    fix = "name the work directory of `encore rate`, e.g. runs/rate_server"
    views = sorted(folder.glob("score/view-*.npz"))
    return f"{fix}; scores of this run are in {views[0]}" if views else fix
