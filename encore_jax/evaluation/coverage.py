"""Do a model's intervals hold what they promise, on ratings that neither trained nor calibrated it?

Coverage is that of a random response to a random prompt, as the intervals promise it: each prompt counts once. If the
held-out prompts are exchangeable with the P of the calibration, the covered ones among M follow a beta-binomial
distribution with parameters ``k = ceil(c (P + 1))`` and ``P + 1 - k`` (Vovk, 2012, arXiv 1209.2673): the calibration's
own luck is in it. Several responses to a prompt vary less than one, so that the p-value is too large rather than too
small. Where it is below 5 %, corrected for all rows (Holm), exchangeability fails, and a sentence says so.

Letters: R rated responses, K rules, P prompts of the calibration, M held-out prompts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from encore_jax.composition.conformal import Bands
from encore_jax.composition.rule_graph import CompiledGraph
from encore_jax.data import Comparison, RatedResponse, prompt_key
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.evaluation.significance import holm
from encore_jax.formats import percent, printable
from encore_jax.reward.intervals import Intervals, reward_errors
from encore_jax.reward.scored import compiled_graph
from encore_jax.shown import Shown

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel

REWARD, EVERY_RULE, ALL = "the reward", "all rules", "all"
"""What rows are about, besides single rules; and the subset that is everything."""
BELOW, ABOVE, HOLDS, UNBOUNDED = "below", "above", "holds", "unbounded"
LEVEL = 0.05


class CoverageRow(NamedTuple):
    """One reward or rule on one subset.

    Attributes:
      what: a rule, `REWARD` or `EVERY_RULE`.
      subset: of the responses; `ALL`.
      ratings, prompts: how many are held out.
      calibration: P, prompts that the intervals come from; of several rules and bands, so many that chance is as large.
      coverage: share covered, each prompt counting once; `low` and `high` are its 95 % interval (Wilson, of prompts).
      by_rating: share covered, each rating counting once.
      width: mean width of the intervals; infinite where some have no end.
      p: that exchangeable prompts lie so far from what is promised or farther, corrected for all rows.
      verdict: `HOLDS`, `BELOW` or `ABOVE` what is promised; `UNBOUNDED` where no interval can fail.
    """

    what: str
    subset: str
    ratings: int
    prompts: int
    calibration: int
    coverage: float
    low: float
    high: float
    by_rating: float
    width: float
    p: float
    verdict: str


@dataclasses.dataclass(frozen=True, repr=False)
class Coverage(Shown, shown_by="encore_jax.report.coverage_page"):
    """Promised and reached coverage.

    >>> found = coverage(model, held_out)  # doctest: +SKIP
    >>> found.rows[0].what, found.rows[0].coverage  # doctest: +SKIP
    ('the reward', 0.91)

    Attributes:
      promised: share of ratings that intervals are to hold.
      rows: the reward, all rules together, every rule; then the reward and all rules on each subset.
      notes: of the intervals, see `Intervals`.
    """

    promised: float
    rows: tuple[CoverageRow, ...]
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """What the numbers say: the whole first, then where exchangeability fails."""
        if not self.rows:
            return ["Coverage is not known: no held-out response is rated."]
        first = [row for row in self.rows if row.subset == ALL and row.what in (REWARD, EVERY_RULE)]
        said = [f"{_of(row)}, of {percent(self.promised)} % promised." for row in first]
        failed = [row for row in self.rows if row.verdict == BELOW]
        said += [
            f"Exchangeability fails for {_place(row)}: coverage {percent(row.coverage)} % [{percent(row.low)}, "
            f"{percent(row.high)}] of the {percent(self.promised)} % promised; these prompts are unlike those of the "
            "calibration."
            for row in failed
        ]
        said += [
            f"Intervals of {_place(row)} are wider than they need be: coverage {percent(row.coverage)} % "
            f"[{percent(row.low)}, {percent(row.high)}]."
            for row in self.rows
            if row.verdict == ABOVE
        ]
        tested = [row for row in self.rows if row.verdict != UNBOUNDED]
        if tested and not failed:
            fewest = min(row.prompts for row in tested)
            said.append(f"No test of {len(tested)} says that exchangeability fails; the smallest has {fewest} prompts.")
        if unbounded := sorted({row.what for row in self.rows if row.verdict == UNBOUNDED}):
            said.append(f"Without an interval of finite width: {', '.join(map(printable, unbounded))}.")
        return said + [f"{note[0].upper()}{note[1:]}." for note in self.notes]

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite are left to the caller."""
        rows = [row._asdict() for row in self.rows]
        return {"promised": self.promised, "rows": rows, "notes": list(self.notes), "sentences": self.sentences()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Coverage:
        """What `to_json` gave; null stands for infinity."""
        numbers = (
            {name: math.inf if value is None else value for name, value in row.items()} for row in values["rows"]
        )
        return cls(values["promised"], tuple(CoverageRow(**row) for row in numbers), tuple(values["notes"]))


def coverage(model: RewardModel, rated: Iterable[Comparison | RatedResponse]) -> Coverage:
    """How often a model's intervals hold the ratings of responses that it has not seen.

    Args:
      model: calibrated.
      rated: comparisons with ratings, or rated responses, of prompts that neither trained nor calibrated it; with
        subsets (or sources), coverage is told for each.

    Raises:
      InputError: nobody has calibrated the model, nothing is rated, a rule that it does not have, no response that it
        takes, or ratings on two scales, or on another than those that calibrated it.

    >>> import encore_jax as enc
    >>> enc.coverage(model, held_out).report("coverage.html")  # doctest: +SKIP
    """
    from encore_jax.reward.calibrate import scored_rows  # with what runs a model, which a run's own numbers do not need
    from encore_jax.reward.rated_rows import rated_rows
    from encore_jax.reward.same_scale import check_same_scale

    intervals, rows = model.intervals, rated_rows(rated)
    kept, scores, ratings = scored_rows(model, rows)
    prompt = group_ids([prompt_key(prompt) for prompt, _ in rows.texts])[kept]
    subset = np.array(rows.subsets)[kept]
    check_same_scale(model.calibration, ratings, prompt, intervals.rules)
    return coverage_of(intervals, scores, ratings, prompt, subset, model.weights, compiled_graph(model.passport))


def coverage_of(
    intervals: Intervals,
    scores: np.ndarray,
    ratings: np.ndarray,
    prompt: np.ndarray,
    subset: np.ndarray,
    weights: np.ndarray,
    graph: CompiledGraph | None = None,
) -> Coverage:
    """The same of arrays.

    Args:
      intervals: of a model.
      scores, ratings: ``[R, K]`` by it, and by people or judges; NaN where there is no rating.
      prompt, subset: ``[R]``.
      weights, graph: by which rewards are composed.
    """
    rewards, errors = reward_errors(scores, ratings, weights, graph, parts=intervals.parts)
    rules, by_rule = intervals.rules, scores.astype(np.float64) - ratings
    tables = {REWARD: _Table(errors[:, None], rewards[:, None], (intervals.reward_bands,))}
    if len(rules) > 1:
        tables[EVERY_RULE] = _Table(by_rule, scores, intervals.bands)
    for k, rule in enumerate(rules):
        tables[rule] = _Table(by_rule[:, [k]], scores[:, [k]], intervals.bands[k : k + 1])
    names = list(dict.fromkeys(subset.tolist()))
    cells = [(what, ALL, np.ones(len(prompt), bool)) for what in tables]
    if len(names) > 1:
        cells += [(what, name, subset == name) for what in (REWARD, EVERY_RULE) if what in tables for name in names]
    rows = [_row(what, name, tables[what], prompt, chosen, intervals.coverage) for what, name, chosen in cells]
    rows = list({row[2:]: row for row in reversed(rows) if row is not None}.values())[::-1]  # a subset of one rule
    tested = [i for i, row in enumerate(rows) if row.verdict != UNBOUNDED]
    if tested:
        for i, p in zip(tested, holm(np.array([rows[i].p for i in tested])).tolist(), strict=True):
            side = BELOW if rows[i].coverage < intervals.coverage else ABOVE
            rows[i] = rows[i]._replace(p=p, verdict=side if p < LEVEL else HOLDS)
    return Coverage(intervals.coverage, tuple(rows), intervals.notes)


class _Table(NamedTuple):
    """Errors and scores ``[R, C]`` of C rules (or of the reward), and each one's radius by score."""

    errors: np.ndarray
    scores: np.ndarray
    bands: tuple[Bands, ...]


def _row(
    what: str, name: str, table: _Table, prompt: np.ndarray, chosen: np.ndarray, promised: float
) -> CoverageRow | None:
    """The row of a subset; None where nothing is rated. Of several rules, those without an end are left out."""
    radius = np.stack([bands.at(table.scores[:, c]) for c, bands in enumerate(table.bands)], 1)
    known = ~np.isnan(table.errors) & chosen[:, None]
    if len(table.bands) > 1:
        known &= np.isfinite(radius)
    if not known.any():
        return None
    covered = (np.abs(table.errors) <= radius)[known]
    _, of = np.unique(prompt[np.nonzero(known)[0]], return_inverse=True)
    share = np.bincount(of, covered) / np.bincount(of)
    count, mean, finite = len(share), float(share.mean()), bool(np.isfinite(radius[known]).all())
    behind = _calibration(table, known)
    p = exchangeable_p(float(share.sum()), count, behind, promised) if finite else 1.0
    return CoverageRow(
        what, name, int(known.sum()), count, behind, mean, *wilson(mean, count), float(covered.mean()),
        float(2 * radius[known].mean()), p, HOLDS if finite else UNBOUNDED,
    )  # fmt: skip


def _calibration(table: _Table, known: np.ndarray) -> int:
    """Prompts of calibration with as much luck in them as the radii of these ratings have together.

    Bands of one rule come from different responses, so their variances add up; rules come from the same ones, so that
    at worst their standard deviations do.
    """
    spread = 0.0
    for c, bands in enumerate(table.bands):
        band = np.bincount(bands.band(table.scores[known[:, c], c]), minlength=len(bands.radius)) / known.sum()
        spread += math.sqrt((band**2 / np.maximum(bands.prompts, 1)).sum())
    return math.floor(1 / spread**2 + 1e-9)


def exchangeable_p(covered: float, prompts: int, calibration: int, promised: float) -> float:
    """Two-sided p-value of so many covered prompts, if they are exchangeable with those of the calibration.

    Args:
      covered: sum over prompts of the share of their responses that is covered.
      prompts: M.
      calibration: P, at least as many as a finite radius takes.
      promised: the coverage c.

    Raises:
      InputError: so few prompts of calibration that no radius is finite.

    >>> round(exchangeable_p(90, 100, 1000, 0.9), 2), exchangeable_p(60, 100, 1000, 0.9) < 1e-9
    (1.0, True)
    >>> exchangeable_p(80, 100, 12, 0.9) > 0.1  # 12 prompts of calibration promise little by themselves
    True
    """
    rank = math.ceil(promised * (calibration + 1) - 1e-9)
    if rank > calibration:
        problem = f"{calibration} prompts promise no coverage of {promised}"
        raise InputError(problem, where="calibration", fix="calibrate on more prompts")
    law = stats.betabinom(prompts, rank, calibration + 1 - rank)
    few, many = law.cdf(math.ceil(covered - 1e-9)), law.sf(math.floor(covered + 1e-9) - 1)
    return float(min(1.0, 2 * min(few, many)))


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of so many prompts.

    >>> [round(end, 3) for end in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    middle, spread = share + z**2 / (2 * count), z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, (middle - spread) / (1 + z**2 / count)), min(1.0, (middle + spread) / (1 + z**2 / count))


def _of(row: CoverageRow) -> str:
    return (
        f"Intervals of {printable(row.what)} hold {percent(row.coverage)} % [{percent(row.low)}, {percent(row.high)}] "
        f"of held-out ratings ({row.ratings} of {row.prompts} prompts)"
    )


def _place(row: CoverageRow) -> str:
    where = "" if row.subset == ALL else f" on subset {printable(row.subset)}"
    return f"{printable(row.what)}{where}"
