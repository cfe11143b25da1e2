"""What an ablation works on: a run's view, a file of the batch scorer, or comparisons with ratings of their responses.

Letters: T responses, K rules, N comparisons.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.data.digest import file_sha256
from encore_jax.data.manifest import FIX, check_one_run, reading_stage
from encore_jax.data.npz import read_npz
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_cells import Cell, infer_scale
from encore_jax.data.rating_run import rating_run
from encore_jax.data.scales import UNIT
from encore_jax.data.scored_rows import is_scored, no_such_file, read_scored_rows, rules_of
from encore_jax.data.sources import check_local_file
from encore_jax.data.stray import check_stray
from encore_jax.errors import InputError
from encore_jax.evaluation.decision import (
    MODEL,
    RATINGS,
    SCORES,
    about,
    how_for_model,
    how_for_scores,
)
from encore_jax.evaluation.fit_advice import Rated, how_for_ratings, rated_in
from encore_jax.evaluation.results import ratings_entropy
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.scored_view import scored_view
from encore_jax.evaluation.view import Label, View
from encore_jax.recipes.outside import Outside

HEADS = "score/view-heads.npz"
"""Where a run's scores lie in its work directory."""


class Reading(NamedTuple):
    """How a file that is no view is read.

    Attributes:
      label: where the values come from.
      scale: lowest and highest possible rating; () infers it.
      test_fraction: of the prompts, held out.
      seed: of the split.
    """

    label: Label = "model-rated"
    scale: tuple[float, ...] = ()
    test_fraction: float = 0.5
    seed: int = 0


class AblationSource(Outside):
    """Scores or ratings.

    Args:
      scores: a view, a file of scores or ratings, or the folder of a run that holds one.
      features: features.npz beside a view; "" for none.
      pool: of ratings: YAML file or shipped name of the rules; "" for pool.yaml beside the file.
    """

    reads = ("scores", "features", "pool")

    def __init__(self, scores: str, features: str = "", pool: str = ""):
        self.scores, self.features, self.pool = scores, features, pool

    @property
    def path(self) -> Path:
        """The file that is named, or that a finished run in the folder which is named has written.

        Raises:
          InputError: the folder holds neither scores nor ratings, or those of a run that is not finished.
        """
        path = Path(os.path.expanduser(self.scores))
        if not path.is_dir():
            return path
        if (path / HEADS).is_file():
            check_one_run(path / "score")
            return path / HEADS
        views = ", ".join(sorted(str(found) for found in path.glob("score/view-*.npz")))
        try:
            return rating_run(path).comparisons
        except InputError as error:
            scored = "give the work directory of a run that has scored or rated, or a file of scores"
            fix = f"give one of {views}" if views else error.fix if error.fix == FIX else scored
            raise InputError(error.problem, where=error.where, fix=fix) from None

    def view(self, reading: Reading) -> View:
        """The view that the file is, or that is made of it; see `scaled_view`."""
        return self.scaled_view(reading)[0]

    def scaled_view(self, reading: Reading) -> tuple[View, Scale]:
        """The view that the file is, or that is made of it, and the scale of its ratings.

        Raises:
          InputError: the file is missing, of another kind, or holds no comparison that can be decided; or it is of a
            run that is at work, or whose stages are not of one run.
        """
        path, given = self.path, tuple(reading.scale)
        with reading_stage(path.parent):
            if path.suffix == ".npz":
                view = View.load(path)
                return view, given or _scale_of(view, path)
            if self.features and path.is_file():
                fix = "give --scores=RUN/score/view-NAME.npz"
                raise InputError("belong to a view", where="config.features", fix=fix)
            rows = read_scored_rows(path, self.pool, given or None)
            for line in rows.columns:
                logging.warning("%s: %s", path.name, line)
            scale = given or rows.scale
            return scored_view(rows, path.name, **reading._asdict() | {"scale": scale}), scale

    def advice(self, view: View, entropy: np.ndarray, seed: int = 0, scale: tuple[float, ...] = ()) -> dict[str, str]:
        """Which weighting to use for the view, decided from its training comparisons as its run decides it.

        Args:
          view: of this source.
          entropy: ``[K]``, of its ratings.
          seed: of the bootstrap.
          scale: that its ratings were read on; () if it was inferred.

        Returns:
          `use`, the weighting, and `line`, the sentence; empty if no comparison is for training.
        """
        if not len(view.train):
            return {}
        path = self.path
        of_model = path.suffix == ".npz" and view.name == "heads"
        subject = MODEL if of_model else SCORES if path.suffix == ".npz" or is_scored(path) else RATINGS
        known = ratings_entropy(view) if path.suffix == ".npz" else entropy if np.isfinite(entropy).all() else None
        found = rule_agreement(view.train, view.rules, entropy=known, seed=seed)
        how = how_for_scores(found.use) if is_scored(path) else ""
        if subject == RATINGS:
            how = how_for_ratings(found.use, self._rated(path, scale))
        if of_model and path.parent.name == "score":
            how = how_for_model(found.use, "", str(path.parent.parent))
        return {"use": found.use, "line": " ".join(filter(None, [about(subject, found.recommendation), how]))}

    def _rated(self, path: Path, scale: tuple[float, ...]) -> Rated:
        """The ratings, as `encore fit` may be given them."""
        flags = [f"--config.data.pool={self.pool}"] if self.pool else []
        flags += [f"--config.data.scale={scale[0]:g},{scale[1]:g}"] if scale else []
        return rated_in(path, read_scored_rows(path, self.pool, tuple(scale) or None), flags)

    def check_there(self) -> None:
        if not self.path.is_file():
            raise no_such_file(self.path)
        if self.features:
            check_local_file(self.features)

    def key(self) -> dict[str, str]:
        """SHA-256 of the files, and of the rules by which ratings are oriented."""
        path = self.path
        files = {"scores": file_sha256(path)}
        if self.features:
            files["features"] = file_sha256(self.features)
        if path.suffix != ".npz" and not is_scored(path) and (self.pool or path.with_name("pool.yaml").is_file()):
            files["pool"] = rules_of(path, self.pool).digest  # a table needs none
        return files


def check_readable(source: AblationSource, reading: Reading) -> None:
    """Raises InputError unless the source can be read; see `AblationSource.scaled_view`."""
    source.view(reading)


def _scale_of(view: View, path: Path) -> Scale:
    """0 to 1, on which a run's ratings are; of a view that somebody made, what its ratings show, which is said."""
    ratings = view.ratings[view.rated]
    if not ratings.size or (ratings.min() >= 0 and ratings.max() <= 1):
        return UNIT
    low, high = infer_scale([Cell(float(ratings.min())), Cell(float(ratings.max()))])
    by_rule = {rule: view.ratings[..., k][view.rated[..., k]] for k, rule in enumerate(view.rules)}
    scale = (float(low), float(high))
    check_stray(by_rule, dict.fromkeys(by_rule, scale), lambda rule, i: path.name, "give --scale=LOWEST,HIGHEST")
    logging.info("%s: scale %g to %g, inferred from the ratings (--scale=LOWEST,HIGHEST)", path.name, low, high)
    return scale


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
