"""A reward model beside ratings that it was not trained on, as a calibration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from encore_jax.composition.conformal import COVERAGE, fewest_prompts
from encore_jax.data.comparison import Comparison, RatedResponse, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.reward.calibration import HELD_OUT, Calibration
from encore_jax.reward.rated_rows import RatedRows, rated_rows
from encore_jax.reward.same_scale import check_same_scale
from encore_jax.reward.sequences import fits

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel


def calibration_of(
    model: RewardModel, rated: Iterable[Comparison | RatedResponse], coverage: float = COVERAGE
) -> Calibration:
    """Scores of rated responses, beside their ratings; what the model does not take is told in a line.

    Args:
      model: any reward model without a gate.
      rated: comparisons with ratings, or rated responses, on rules of the model; on the scale that it was trained on,
        and on prompts that it was not trained on.
      coverage: probability with which an interval is to hold the rating.

    Raises:
      InputError: nothing is rated, a rule that the model does not have, no response that it takes, a gate, or a
        coverage that is none.
    """
    fewest_prompts(coverage)
    return calibration_of_rows(model, rated_rows(rated), coverage)


def calibration_of_rows(model: RewardModel, rows: RatedRows, coverage: float = COVERAGE) -> Calibration:
    """The same of rated responses that are rows already."""
    if model.gate is not None:
        problem = "its weights depend on the prompt, and its scores are on no scale of ratings"
        raise InputError(problem, where=model.passport.model, fix="use a model with weights of its own")
    kept, scores, ratings = scored_rows(model, rows)
    prompts = group_ids([prompt_key(prompt) for prompt, _ in rows.texts])
    if model.calibration is not None:
        check_same_scale(model.calibration, ratings, prompts[kept], model.rules)
    return Calibration(scores, ratings, prompts[kept], HELD_OUT, coverage)


def scored_rows(model: RewardModel, rows: RatedRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows the model takes, as numbers; their scores and ratings ``[R, K]`` on its rules, NaN without a rating.

    Raises:
      InputError: a rule that the model does not have, or no response that it takes.
    """
    if unknown := [rule for rule in rows.rules if rule not in model.rules]:
        problem = f"the model has no rule {', '.join(unknown[:5])}; it has {', '.join(model.rules[:8])}"
        raise InputError(problem, where="rated", fix="read the ratings with the model's own rules")
    refused: dict[int, str] = {}
    sequences = model.scorer.tokenize(rows.texts, refused)
    none = np.array([sequence is None for sequence in sequences], bool)
    longest = model.scorer.longest
    long = np.array([not fits(sequence, longest) for sequence in sequences], bool) & ~none
    reasons = [
        Reason("are not rated on any rule", ~rows.mask.any(1), "rate them"),
        Reason("are refused by the chat template", none, "use a model whose template takes them"),
        Reason(f"are longer than the model's {longest} tokens", long, "use a model of longer rows"),
    ]
    taken = require_some(len(rows.texts), reasons, what="rated responses", purpose="to calibrate on", where="rated")
    if not taken.all():
        told = ", ".join(f"{int(reason.rows.sum())} {reason.text}" for reason in reasons if reason.rows.any())
        logging.warning("%d of %d rated responses are left out: %s", (~taken).sum(), len(taken), told)
    kept = np.flatnonzero(taken)
    keys = [prompt_key(prompt) for prompt, _ in rows.texts]
    values = model.scorer.run_sequences([sequences[i] for i in kept], [keys[i] for i in kept])
    ratings = np.full((len(kept), len(model.rules)), np.nan, np.float32)
    for k, rule in enumerate(rows.rules):
        ratings[:, model.rules.index(rule)] = np.where(rows.mask[kept, k], rows.ratings[kept, k], np.nan)
    return kept, model.scorer.scores(values), ratings
