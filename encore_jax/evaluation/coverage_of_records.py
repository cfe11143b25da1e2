"""What a model's intervals hold on comparisons that carry ratings, beside their evaluation: scores exist already.

Letters: T texts, R rated responses, K rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from encore_jax.composition.rule_graph import CompiledGraph
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.mixed_scales import SeveralScales
from encore_jax.data.rows import named
from encore_jax.data.split import group_ids
from encore_jax.evaluation.coverage import Coverage, coverage_of
from encore_jax.reward.calibration import Calibration
from encore_jax.reward.intervals import Intervals
from encore_jax.reward.rated_rows import check_one_scale
from encore_jax.reward.same_scale import check_same_scale


class RatedTexts(NamedTuple):
    """Rated responses among the texts of comparisons.

    Attributes:
      row: int ``[R]``, which text each is, counted over all responses of all comparisons.
      ratings: ``[R, K]`` on the model's rules, NaN where there is none.
      prompt: int ``[R]``, equal for responses to one prompt.
      subset: ``[R]``, the comparison's subset, or else its source.
      unknown: rules of ratings that the model does not have.
      name: ``[R]``, what the comparison of each is called in messages.
    """

    row: np.ndarray
    ratings: Float[np.ndarray, "R K"]
    prompt: np.ndarray
    subset: np.ndarray
    unknown: tuple[str, ...]
    name: tuple[str, ...] = ()


def rated_texts(records: Sequence[Comparison], rules: Sequence[str]) -> RatedTexts:
    """The responses that have a rating by at least one of these rules.

    >>> from encore_jax.data import Message
    >>> rated = Comparison((Message("user", "Hi"),), ("Hello", "Go"), 0, ("kind", "odd"), [[1.0, 0.5], [0.0, 0.5]])
    >>> found = rated_texts([Comparison((Message("user", "Hi"),), ("a", "b"), 0), rated], ("safe", "kind"))
    >>> found.row.tolist(), found.ratings[:, 1].tolist(), found.unknown
    ([2, 3], [1.0, 0.0], ('odd',))
    """
    place = {rule: k for k, rule in enumerate(rules)}
    rows, ratings, prompts, subsets, names, unknown, start = [], [], [], [], [], {}, 0
    for number, record in enumerate(records):
        if record.ratings is not None:
            own = np.full((len(record.responses), len(place)), np.nan, np.float32)
            for k, rule in enumerate(record.rules):
                if rule in place:
                    own[:, place[rule]] = np.where(record.mask[:, k], record.ratings[:, k], np.nan)
                elif record.mask[:, k].any():
                    unknown[rule] = True
            for i in np.flatnonzero(~np.isnan(own).all(1)):
                rows.append(start + int(i))
                ratings.append(own[i])
                prompts.append(prompt_key(record.prompt))
                subsets.append(record.subset or record.source or "all")
                names.append(f"comparison {record.id or number}")
        start += len(record.responses)
    values = np.stack(ratings) if ratings else np.zeros((0, len(place)), np.float32)
    group = group_ids(prompts) if prompts else np.zeros(0, np.int64)
    return RatedTexts(
        np.array(rows, np.int64), values, group, np.array(subsets, dtype=str), tuple(unknown), tuple(names)
    )


def coverage_of_records(
    intervals: Intervals,
    records: Sequence[Comparison],
    scores: Float[np.ndarray, "T K"],
    weights: np.ndarray,
    graph: CompiledGraph | None = None,
    *,
    calibration: Calibration,
) -> tuple[Coverage | None, str]:
    """Coverage on the ratings that the comparisons carry, and what is to be said of those that do not count.

    Args:
      intervals: of the model.
      records: comparisons; those without ratings do not count.
      scores: of every response of every comparison in turn; NaN where the model does not take it.
      weights, graph: by which rewards are composed.
      calibration: that the intervals come from.

    Returns:
      None where nothing is rated, by none of the model's rules, or on two scales, or on another than the calibration;
      then the sentence says so, if there is a rating.
    """
    found = rated_texts(records, intervals.rules)
    known = np.isfinite(scores[found.row]).all(1) if len(found.row) else np.zeros(0, bool)
    said = f"Ratings by {named(found.unknown)} do not count: the model has no such rule." if found.unknown else ""
    if not known.any():
        return None, said
    try:
        check_one_scale(intervals.rules, found.ratings, ~np.isnan(found.ratings), found.name)
        check_same_scale(calibration, found.ratings, found.prompt, intervals.rules, "comparisons")
    except SeveralScales as error:
        return None, f"{said} Coverage is not known: {error}".strip()
    values = (scores[found.row], found.ratings, found.prompt, found.subset)
    return coverage_of(intervals, *(value[known] for value in values), weights, graph), said
