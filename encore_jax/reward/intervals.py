"""Intervals of scores and rewards, from a model's calibration.

A rule's interval is its score, plus and minus a quantile of the calibration's errors on that rule, in the rule's own
band of scores (`encore_jax.composition.conformal`). It is about the *rating*: what a rater of the calibration's kind
would say, not the mean of many raters. The composed reward has intervals of its own, because errors of several rules
cancel: they are about what the same weights (or rule graph) make of the ratings.

Letters: N texts, R rated responses, K rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from encore_jax.composition.conformal import Bands, conformal_bands, fewest_prompts
from encore_jax.composition.rule_graph import CompiledGraph
from encore_jax.errors import InputError
from encore_jax.formats import percent
from encore_jax.reward.calibration import HELD_OUT, Calibration
from encore_jax.reward.scored import Scored


class Bounds(NamedTuple):
    """Values with their intervals, fp32 arrays of one shape.

    Attributes:
      value: scores or rewards; NaN where there is none.
      lower, upper: ends of the interval; -inf and inf where the calibration is too small for one.
    """

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class BandFacts(TypedDict):
    """Radius by score as JSON; None is infinity."""

    edges: list[float]
    radius: list[float | None]
    prompts: list[int]
    range: tuple[float, float]


class IntervalFacts(TypedDict):
    """Intervals as JSON: in an export's ``config.json``, and of a server's model."""

    coverage: float
    reward: BandFacts
    rules: dict[str, BandFacts]
    notes: list[str]
    parts: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals of every rule and of the composed reward.

    Attributes:
      coverage: probability with which they hold.
      rules: K names.
      bands: radius by score, of each rule.
      reward_bands: of the composed reward.
      ranges: ``[K, 2]``, lowest and highest score of the calibration.
      reward_range: the same of the reward.
      notes: what they do not promise, and why, in sentences; shown wherever they are.
      parts: whether the reward's are about the rules that each response is rated on; see `composed_errors`.
    """

    coverage: float
    rules: tuple[str, ...]
    bands: tuple[Bands, ...]
    reward_bands: Bands
    ranges: np.ndarray
    reward_range: tuple[float, float]
    notes: tuple[str, ...]
    parts: bool

    def of_scores(self, scores: np.ndarray) -> Bounds:
        """Intervals of scores ``[N, K]``."""
        radius = [bands.at(scores[:, k]) for k, bands in enumerate(self.bands)]
        return _bounds(scores, np.stack(radius, 1))

    def facts(self) -> IntervalFacts:
        """All of it as plain values for JSON."""
        of_rules = dict(zip(self.rules, zip(self.bands, self.ranges.tolist(), strict=True), strict=True))
        return {
            "coverage": self.coverage,
            "reward": _plain(self.reward_bands, self.reward_range),
            "rules": {rule: _plain(*each) for rule, each in of_rules.items()},
            "notes": list(self.notes),
            "parts": self.parts,
        }

    @classmethod
    def from_facts(cls, facts: IntervalFacts, rules: tuple[str, ...], where: str) -> Intervals:
        """What `facts` gave, as somebody else says it.

        Raises:
          InputError: they are of other rules, or no intervals.
        """
        if facts["rules"].keys() != set(rules):
            raise InputError("are of other rules than the model's", where=where, fix=_AGAIN)
        each = [facts["reward"], *(facts["rules"][rule] for rule in rules)]
        reward, *bands = (_bands(one, where) for one in each)
        (low, high), *ranges = (one["range"] for one in each)
        return cls(
            facts["coverage"], tuple(rules), tuple(bands), reward, np.array(ranges), (low, high),
            tuple(facts["notes"]), facts["parts"],
        )  # fmt: skip

    def of_rewards(self, rewards: np.ndarray) -> Bounds:
        """Intervals of composed rewards ``[N]``."""
        return _bounds(rewards, self.reward_bands.at(rewards))


_AGAIN = "serve or export the model again with this version"


def _bands(facts: BandFacts, where: str) -> Bands:
    edges = np.array(facts["edges"], np.float64)
    radius = np.array([np.inf if value is None else value for value in facts["radius"]], np.float64)
    low, high = facts["range"]
    shapes = len(edges) + 1 == len(radius) == len(facts["prompts"])
    if not shapes or (np.diff(edges) <= 0).any() or not (radius >= 0).all() or not low <= high:
        raise InputError("are none: edges must increase, and each band has a radius", where=where, fix=_AGAIN)
    return Bands(edges, radius, np.array(facts["prompts"], np.int64))


def _plain(bands: Bands, ends: Sequence[float]) -> BandFacts:
    radius = [float(value) if np.isfinite(value) else None for value in bands.radius]
    return {"edges": bands.edges.tolist(), "radius": radius, "prompts": bands.prompts.tolist(), "range": tuple(ends)}


def _bounds(values: np.ndarray, radius: np.ndarray) -> Bounds:
    """Rounded outwards, so that fp32 loses no rating that lies on the end of an interval."""
    values, wide = np.asarray(values, np.float32), np.asarray(values, np.float64)
    lower, upper = (wide - radius).astype(np.float32), (wide + radius).astype(np.float32)
    lower = np.where(lower > wide - radius, np.nextafter(lower, np.float32(-np.inf)), lower)
    upper = np.where(upper < wide + radius, np.nextafter(upper, np.float32(np.inf)), upper)
    return Bounds(values, lower, upper)


class ComposedErrors(NamedTuple):
    """How far composed rewards lie from the same composition of the ratings.

    Attributes:
      rewards: ``[R]``, of the scores.
      errors: ``[R]``, NaN where the ratings say nothing.
      note: where they are not those of the whole reward, why.
      parts: whether they are those of parts.
    """

    rewards: np.ndarray
    errors: np.ndarray
    note: str
    parts: bool


def intervals_of(
    calibration: Calibration, rules: tuple[str, ...], weights: np.ndarray, graph: CompiledGraph | None = None
) -> Intervals:
    """Intervals by a calibration.

    Args:
      calibration: scores and ratings on these rules.
      rules: K names.
      weights: ``[K]``, of the composed reward.
      graph: vetoes and prerequisites under which it is composed.
    """
    prompt, coverage = calibration.prompt, calibration.coverage
    errors = (calibration.scores.astype(np.float64) - calibration.ratings).T
    bands = [conformal_bands(calibration.scores[:, k], errors[k], prompt, coverage) for k in range(len(rules))]
    composed = composed_errors(calibration, weights, graph)
    reward_bands = conformal_bands(composed.rewards, composed.errors, prompt, coverage)
    notes = [] if calibration.by == HELD_OUT else [OUT_OF_FOLD_NOTE.format(promised=percent(coverage))]
    fewest = fewest_prompts(coverage)
    for rule, error, found in zip(rules, errors, bands, strict=True):
        if np.isinf(found.radius).any():
            prompts = len(np.unique(prompt[~np.isnan(error)]))
            notes.append(f"{rule} is rated on {prompts} prompts, and {fewest} are needed: no interval of finite width")
    if composed.note:
        notes.append(composed.note)
    rewards = composed.rewards
    return Intervals(
        coverage, tuple(rules), tuple(bands), reward_bands,
        np.stack([calibration.scores.min(0), calibration.scores.max(0)], 1),
        (float(rewards.min()), float(rewards.max())), tuple(notes), composed.parts,
    )  # fmt: skip


OUT_OF_FOLD_NOTE = (
    "calibrated on out-of-fold scores: heads of the folds saw less data than the model, so that {promised} % is aimed "
    "at and no theorem; coverage on held-out ratings says what is reached"
)


def composed_errors(calibration: Calibration, weights: np.ndarray, graph: CompiledGraph | None) -> ComposedErrors:
    """Errors of the composed reward on the calibration.

    They are known of responses that are rated on every rule of a weight other than 0 (under a graph: on every rule).
    Where these have too few prompts, each response counts with the rules it is rated on, their weights scaled up to
    the whole: the error of a part of the reward, in which fewer errors cancel. A graph has no such part.
    """
    scores, ratings, fewest = calibration.scores, calibration.ratings, fewest_prompts(calibration.coverage)
    rewards, errors = reward_errors(scores, ratings, weights, graph, parts=False)
    prompts = len(np.unique(calibration.prompt[~np.isnan(errors)]))
    if prompts >= fewest:
        return ComposedErrors(rewards, errors, "", False)
    lacking = f"responses rated on every rule of the reward come from {prompts} prompts, and {fewest} are needed"
    if graph is not None:
        return ComposedErrors(rewards, errors, f"{lacking}: the reward has no finite interval", False)
    note = f"{lacking}: the reward's interval is that of the rules that each response is rated on, weights scaled up"
    return ComposedErrors(*reward_errors(scores, ratings, weights, graph, parts=True), note, True)


def reward_errors(
    scores: np.ndarray, ratings: np.ndarray, weights: np.ndarray, graph: CompiledGraph | None, *, parts: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rewards ``[R]`` of scores ``[R, K]``, and by how much they exceed those of ratings ``[R, K]``; NaN if unknown.

    Args:
      scores, ratings: ratings are NaN where there is none.
      weights, graph: see `intervals_of`.
      parts: compare the rules that a response is rated on, weights scaled up, instead of whole rewards.
    """
    weights, mask = np.asarray(weights, np.float32), ~np.isnan(ratings)

    def composed(values: np.ndarray) -> np.ndarray:
        return np.asarray(Scored(values, np.broadcast_to(weights, values.shape), graph).rewards, np.float64)

    rewards = composed(scores)
    if not parts:
        whole = mask[:, weights != 0].all(1) if graph is None else mask.all(1)
        filled = np.where(mask, ratings, 0).astype(np.float32)
        return rewards, np.where(whole, rewards - composed(filled), np.nan)
    share = (np.abs(weights) * mask).sum(1) / np.abs(weights).sum()
    part = (np.where(mask, scores - ratings, 0) * weights).astype(np.float64).sum(1)
    return rewards, np.where(share > 0, part / np.where(share > 0, share, 1), np.nan)


def folded_calibration(calibration: Calibration, weights: np.ndarray) -> Calibration:
    """The calibration of a model whose heads are composed into one: its rewards, and ratings that lie as far from them
    as the composed errors say."""
    composed = composed_errors(calibration, weights, None)
    scores = composed.rewards.astype(np.float32)
    ratings = (scores - composed.errors).astype(np.float32)
    return dataclasses.replace(calibration, scores=scores[:, None], ratings=ratings[:, None])


def wanted(intervals: bool) -> bool:
    """The flag; raises InputError for what is none, as "no", which would count as true."""
    if not isinstance(intervals, bool | np.bool_):
        raise InputError(f"got {str(intervals)[:40]!r}", where="intervals", fix="pass True or False")
    return bool(intervals)


def no_intervals(where: str, mismatch: Sequence[str] = ()) -> InputError:
    """What to say of a model without a calibration.

    Args:
      where: the model.
      mismatch: of its passport, how it differs from the one that was saved.
    """
    if mismatch:
        problem = f"it has no intervals: a calibration is of the model as it was saved, and {'; '.join(mismatch)}"
        fix = "load it as it was saved, or calibrate it as it is: model.calibrated(rated).save(FOLDER)"
        return InputError(problem, where=where, fix=fix)
    fix = "calibrate it on rated responses that it was not trained on: model.calibrated(rated).save(FOLDER)"
    return InputError("it has no intervals: nobody has calibrated it", where=where, fix=fix)
