"""Which judges of a panel can be trusted, with and without labels.

The same questions asked of several judges give a rating per judge and rule. What all these columns have in common is
estimated as for the rules of one judge (`encore_jax.evaluation.reliability`); beside it stands how alike judges are on
one rule, how many independent ones they are worth, what is lost without each, and how much of a judge's ratings is
chance, if it was asked several times.

Letters: J rows (draws of judges), Q judges, N comparisons, n responses, K rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.data.panel import draw_mean, judge_numbers
from encore_jax.errors import InputError
from encore_jax.evaluation.panel_agreement import BetweenJudges, between_judges, pair_table
from encore_jax.evaluation.panel_arguments import anchor_column, checked_panel, column_names
from encore_jax.evaluation.panel_judges import JudgeReliability, judge_reliabilities
from encore_jax.evaluation.panel_twins import twins
from encore_jax.evaluation.panel_variance import Position, Repetition, positions, repetitions
from encore_jax.evaluation.panel_ways import Ways, ways
from encore_jax.evaluation.rated_pairs import rated_pairs
from encore_jax.evaluation.reliability import Reliability, reliability
from encore_jax.evaluation.reliability_arguments import check_numbers, check_room
from encore_jax.shown import Shown

FEWEST_DRAWS = 20
"""An interval from fewer bootstrap draws is none."""

Split = Literal["", "judges", "rules"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PanelReliability(Shown, shown_by="encore_jax.report.panel_page"):
    """What is known about which judges to trust.

    >>> rng = np.random.default_rng(0)
    >>> quality = rng.normal(size=(300, 2, 1))
    >>> ratings = quality + 0.7 * rng.normal(size=(3, 300, 2, 2))
    >>> found = panel_reliability(ratings, judges=["a", "b", "c"], rules=["safe", "kind"], draws=20)
    >>> found.judges[0].judge, found.strays()
    ('a', ())

    Attributes:
      judges: an entry for each of Q judges.
      rules: K names.
      loading, low, high: ``[Q, K]``, how strongly each judge's rating of each rule follows what all of them have in
        common, with a 95 % interval over prompts; NaN where unknown.
      between: how alike judges are on one rule, and the effective number of judges.
      columns: reliability of the Q·K columns: weights, what is shared, which comparisons to label next.
      repetitions: of every judge of which there are several draws, how much of its ratings is chance.
      positions: of every judge, what the order of a pair does to its verdicts; empty for ratings of single responses,
        in which position plays no part.
      ways: which way round judges and rules follow the one factor; all alike if there is more than one, or too little.
      of_draws: the judges are draws of one judge, because there is no other.
      twins: any two judges whose ratings are equal, and in how many comparisons: perhaps one judge, which counts twice.
    """

    judges: tuple[JudgeReliability, ...]
    rules: tuple[str, ...]
    loading: Float[np.ndarray, "Q K"]
    low: Float[np.ndarray, "Q K"]
    high: Float[np.ndarray, "Q K"]
    between: BetweenJudges
    columns: Reliability
    repetitions: tuple[Repetition, ...]
    positions: tuple[Position, ...]
    ways: Ways
    of_draws: bool
    twins: tuple[tuple[str, str, int], ...]

    @property
    def effective_judges(self) -> float:
        """Kish's number: as many independent judges would average as well."""
        return self.between.effective

    def weights(self) -> Float[np.ndarray, "Q K"]:
        """The recommended weights of every judge's rating of every rule."""
        return self.columns.weights[self.columns.recommended].reshape(self.loading.shape)

    def strays(self) -> tuple[str, ...]:
        """Judges that do not follow the others: their correlation with the rest may be 0, and is surely small."""
        return tuple(line.judge for line in self.judges if not line.follows)

    @property
    def split(self) -> Split:
        """Whether the panel splits, and if so, whether judges or rules do.

        Judges split if on most rules the judges' ratings belong to different parts of it, or if some go against the
        others and nothing says who is right.
        """
        if self.columns.common.verdict != "the pool splits":
            return "judges" if self.ways.judges_differ and not self.columns.settled_by else ""
        camp = self.camps_QxK()
        votes = [len({c for c in column if c >= 0}) > 1 for column in camp.T if (column >= 0).sum() > 1]
        return "judges" if sum(votes) * 2 > len(votes) else "rules"

    def camps_QxK(self) -> Int[np.ndarray, "Q K"]:
        """The part that every judge's rating of every rule belongs to, -1 for none.

        Where judges go against each other, those of one way are one part, and those of the other another.
        """
        camp = np.full(self.loading.size, -1)
        if self.ways.judges_differ:
            way = self.ways.judges[:, None]
            return np.where(np.isnan(self.loading) | (way == 0), -1, np.where(way > 0, 0, 1))
        for number, members in enumerate(self.columns.common.camps):
            camp[list(members)] = number
        return camp.reshape(self.loading.shape)

    def parts(self) -> dict[int, tuple[str, ...]]:
        """The judges of every part, by where most of their columns are; those of no part are in none."""
        parts: dict[int, tuple[str, ...]] = {}
        for line, row in zip(self.judges, self.camps_QxK().tolist(), strict=True):
            own = [number for number in row if number >= 0]
            if own:
                number = max(set(own), key=own.count)
                parts[number] = (*parts.get(number, ()), line.judge)
        return parts

    def meant(self) -> tuple[str, ...]:
        """The judges of the part that an anchor, labels or most rules speak for; none if the panel has one part."""
        if self.ways.judges_differ:
            return self.parts().get(0, ()) if self.columns.settled_by else ()
        return () if self.columns.camp is None else self.parts().get(self.columns.camp, ())


def panel_reliability(
    ratings: Float[Array, "J N n K"],
    preferred: Int[Array, " N"] | None = None,
    *,
    judges: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    where: Bool[Array, "J N n K"] | None = None,
    draws_of: Sequence[str] | None = None,
    verdicts: Float[Array, "J M 2"] | None = None,
    prompt: Int[Array, " N"] | None = None,
    anchor: tuple[str, str] | None = None,
    tau: float = 2.0,
    labels: int = 20,
    draws: int = 1000,
    seed: int = 0,
) -> PanelReliability:
    """Says which judges of a panel to trust, from their ratings and as many labels as there are.

    Args:
      ratings: ``[J, N, n, K]``, of J judges on the same N comparisons of n ≥ 2 responses by the same K rules, on any
        scale, higher is better.
      preferred: ``[N]``, 0 to n - 1 by people, -1 where nobody chose; nobody chose at all if left out.
      judges: J names.
      rules: K names.
      where: ``[J, N, n, K]``, which ratings exist.
      draws_of: of every row the judge that it is a draw of, if some were asked several times. Draws are averaged before
        judges are compared; if all are of one judge, they are compared themselves.
      verdicts: ``[J, M, 2]``, verdicts of the same judges on M pairs in both orders, see `positions`.
      prompt: ``[N]``, comparisons of one prompt are resampled together; each is of its own prompt if left out.
      anchor: a judge and a rule whose ratings are known to be about quality, should the panel split.
      tau: temperature of the entropy weights.
      labels: how many comparisons to name in `columns.label_next`.
      draws: of the bootstrap over prompts.
      seed: of everything random.

    Raises:
      InputError: fewer than two judges, fewer than three columns (judges times rules), names that are not there or
        occur twice, shapes that do not fit, a judge without any rating, or ratings that exist and are not finite.

    >>> rng = np.random.default_rng(0)
    >>> quality = rng.normal(size=(300, 2, 1))
    >>> noise = np.array([0.7, 0.7, 9.0])[:, None, None, None] * rng.normal(size=(3, 300, 2, 2))
    >>> found = panel_reliability(quality + noise, judges=["a", "b", "coin"], rules=["safe", "kind"], draws=20)
    >>> found.strays(), [round(float(loading), 1) for loading in found.loading[0]]
    (('coin',), [0.8, 0.8])
    >>> print(repr(found).splitlines()[0][:60])
    Leave out coin, and use the mean of a, b. coin does not foll
    """
    check_numbers(labels, draws, seed, tau, FEWEST_DRAWS)
    rated = checked_panel(ratings, where, judges, draws_of, rules)
    of_draws = len(set(rated.judges)) == 1
    rows = rated.names if of_draws else rated.judges
    names = tuple(dict.fromkeys(rows))
    values = draw_mean(rated.values, judge_numbers(rows))
    if len(names) * len(rated.rules) < FEWEST_RULES:
        problem = f"{len(names)} judges on {len(rated.rules)} rule are {len(names) * len(rated.rules)} columns"
        raise InputError(problem, where="ratings", fix=f"add a judge or a rule: agreement needs {FEWEST_RULES} columns")
    check_room(draws, len(names) * len(rated.rules))
    columns = column_names(names, rated.rules)
    at = None if anchor is None else anchor_column(anchor, names, rated.rules, columns)
    flat = np.moveaxis(values, 0, 2).reshape(*values.shape[1:3], -1)
    exists = ~np.isnan(flat)
    options = {"where": exists, "prompt": prompt, "rules": columns}
    position = () if verdicts is None else positions(verdicts, rated.names)
    shared = {"draws": draws, "seed": seed}
    flat = np.where(exists, flat, 0)
    found = reliability(flat, preferred, **options, anchor=at, tau=tau, labels=labels, **shared)
    table = pair_table(rated_pairs(flat, preferred, **options), len(names), draws, seed)
    loading, low, high = (
        part.reshape(len(names), -1) for part in (found.common.loading, found.common.low, found.common.high)
    )
    one_thing = found.common.verdict == "one common factor"
    way = ways(loading) if one_thing else Ways(np.ones(len(names), int), np.ones(len(rated.rules), int))
    asked = exists.any(2)  # responses that there are
    missing = np.isnan(values)[:, asked].mean((1, 2))
    return PanelReliability(
        judges=judge_reliabilities(table, names, missing, found, way, tau),
        rules=rated.rules,
        loading=loading,
        low=low,
        high=high,
        between=between_judges(table, rated.rules, loading),
        columns=found,
        repetitions=repetitions(rated.values, rated.judges),
        positions=position,
        ways=way,
        of_draws=of_draws,
        twins=() if of_draws else twins(values, names),
    )
