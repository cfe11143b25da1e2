"""What a model's intervals hold on the ratings that the comparisons of an evaluation carry, if they carry any."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from encore_jax.data import iter_comparisons
from encore_jax.data.rows import read_rows
from encore_jax.data.scales import UNIT, on_inferred_scales, on_unit_scale
from encore_jax.data.scored_rows import rules_of
from encore_jax.errors import InputError
from encore_jax.evaluation.convention_scores import ConventionScores
from encore_jax.evaluation.coverage_of_records import coverage_of_records
from encore_jax.evaluation.results import finite
from encore_jax.recipes.stages.benchmark_data import BenchmarkData, BenchmarkItems
from encore_jax.reward.calibration import Calibration, read_calibration
from encore_jax.reward.intervals import intervals_of
from encore_jax.reward.passport import Passport
from encore_jax.reward.scored import compiled_graph


def benchmark_coverage(
    data: BenchmarkData, items: BenchmarkItems, scored: ConventionScores, model: Path, passport: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Coverage as JSON values; None of a model without intervals, and of comparisons without ratings.

    Ratings are read of comparisons in this project's own format, with the rules of pool.yaml beside the file, if there
    is one. They are compared on the scale from 0 to 1, as a run trains; on their own where the model was calibrated on
    ratings beyond it, as `encore_jax.fit` trains.

    Args:
      data: the file.
      items: its comparisons, which `scored` scored.
      scored: scores of every response.
      model: its folder, where its calibration lies.
      passport: of the model, as it was scored with.
    """
    known = Passport.from_dict(dict(passport))
    path = data.path
    if known.intervals is None or items.counts["format"] != "encore" or not path.is_file() or not _has_ratings(path):
        return None
    calibration = read_calibration(model, known.intervals)
    try:
        rated = _ratings(path, len(items.comparisons), calibration)
    except InputError as error:
        logging.warning("coverage is not known: %s", error)
        return None
    if [(one.prompt, one.responses) for one in rated] != [(one.prompt, one.responses) for one in items.comparisons]:
        logging.warning("coverage is not known: %s has other comparisons with ratings than without", path.name)
        return None
    weights, graph = np.asarray(known.weights, np.float32), compiled_graph(known)
    intervals = intervals_of(calibration, known.rules, weights, graph)
    found, said = coverage_of_records(intervals, rated, scored.scores, weights, graph, calibration=calibration)
    if said:
        logging.warning("%s", said)
    return None if found is None else finite(found.to_json())


def _has_ratings(path: Path) -> bool:
    return any(row.get("ratings") for _, row in read_rows(path))


def _ratings(path: Path, count: int, calibration: Calibration) -> list:
    """The first so many comparisons with their ratings, on the scale of the calibration's."""
    pool = rules_of(path, "")

    def read(scale):
        return iter_comparisons(path, pool=pool, scale=scale)

    records, scale = on_inferred_scales(read, path, pool)
    unit = UNIT[0] <= np.nanmin(calibration.ratings) and np.nanmax(calibration.ratings) <= UNIT[1]
    first = itertools.islice(records, count)
    return [on_unit_scale(one, scale) if unit else one for one in first]
