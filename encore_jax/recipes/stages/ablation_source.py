"""What an ablation works on: a run's view, a file of the batch scorer, or comparisons with ratings of their responses.

Letters: T responses, K rules, N comparisons.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore_jax.data.digest import file_sha256
from encore_jax.data.npz import read_npz
from encore_jax.data.orientation import Scale
from encore_jax.data.scored_rows import is_scored, read_scored_rows, rules_of
from encore_jax.errors import InputError
from encore_jax.evaluation.scored_view import scored_view
from encore_jax.evaluation.view import Label, View
from encore_jax.recipes.outside import Outside

OF_A_RUN = ("score/view-heads.npz", "rate/comparisons.jsonl")
"""Where a run's scores or ratings lie in its work directory."""


class Reading(NamedTuple):
    """How a file that is no view is read.

    Attributes:
      label: where the values come from.
      scale: lowest and highest possible rating.
      test_fraction: of the prompts, held out.
      seed: of the split.
    """

    label: Label = "model-rated"
    scale: Scale = (0.0, 1.0)
    test_fraction: float = 0.5
    seed: int = 0


class AblationSource(Outside):
    """Scores or ratings.

    Args:
      scores: a view, a file of scores or ratings, or the folder of a run that holds one.
      features: features.npz beside a view; "" for none.
      pool: of ratings: YAML file or shipped name of the rules; "" for pool.yaml beside the file.
    """

    def __init__(self, scores: str, features: str = "", pool: str = ""):
        self.scores, self.features, self.pool = scores, features, pool

    @property
    def path(self) -> Path:
        """The file that is named, or that a finished run in the folder which is named has written.

        Raises:
          InputError: the folder holds no scores.
        """
        path = Path(self.scores)
        if not path.is_dir():
            return path
        for name in OF_A_RUN:
            if (path / name).is_file():
                return path / name
        views = ", ".join(sorted(str(found) for found in path.glob("score/view-*.npz")))
        scored = "give the work directory of a run that has scored, or a file of scores"
        fix = f"give one of {views}" if views else scored
        raise InputError(f"is a folder without {' or '.join(OF_A_RUN)}", where=str(path), fix=fix)

    def view(self, reading: Reading) -> View:
        """The view that the file is, or that is made of it.

        Raises:
          InputError: the file is missing, of another kind, or holds no comparison that can be decided.
        """
        path = self.path
        if path.suffix == ".npz":
            return View.load(path)
        if self.features and path.is_file():
            raise InputError("belong to a view", where="config.features", fix="give --scores=RUN/score/view-NAME.npz")
        return scored_view(read_scored_rows(path, self.pool, reading.scale), path.name, **reading._asdict())

    def key(self) -> dict[str, str]:
        """SHA-256 of the files, and of the rules by which ratings are oriented."""
        path = self.path
        files = {"scores": file_sha256(path)}
        if self.features:
            files["features"] = file_sha256(self.features)
        if path.suffix != ".npz" and not is_scored(path):
            files["pool"] = rules_of(path, self.pool).digest
        return files


def read_features(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Features ``[T, D]`` of rated responses and ``[N, 2, D]`` of test comparisons, as a run keeps them.

    Raises:
      InputError: the file is missing or damaged, or holds something else.
    """
    arrays, found = read_npz(path), []
    for name, ndim in (("rated", 2), ("test", 3)):
        array = arrays.get(name, np.zeros(0))
        if array.ndim != ndim or array.dtype.kind != "f" or not np.isfinite(array).all():
            problem = f"array {name!r} holds no finite numbers of {ndim} axes"
            raise InputError(problem, where=path, fix="give the features.npz that stands beside the view")
        found.append(array)
    return found[0], found[1]
