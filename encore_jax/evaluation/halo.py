"""Whether ratings of several rules in one call may stand for ratings of each rule by itself: halo, measured.

A judge that is asked about many rules at once pays for its instructions and the conversation once, but what it says of
one rule stands before what it says of the next. Its ratings may lean on each other (a *halo*: rules correlate more than
they do when they are asked about one by one) and on the order of the list. Both are measured on a sample that is asked
three times: every rule by itself, all in calls, and all in calls in the reversed order.

Letters: N responses, K rules, G groups of responses (to one prompt), R bootstrap draws. Ratings are on the scale from 0
to 1; NaN where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition.ties import sign
from encore_jax.errors import InputError
from encore_jax.evaluation.agreement import correlation
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.formats import percent

LEAST_AGREEMENT = 0.9
"""Ratings of both ways must fall to the same side of the scale's middle in at least this share."""
MOST_HALO = 0.1
"""Rules may correlate by at most so much more in one call than one by one."""
FEWEST_GROUPS = 20
"""Prompts below which an interval over them says too little."""
DRAWS = 1000

YES, NO, OPEN = "yes", "no", "open"


class Interval(NamedTuple):
    """A number with its 95 % interval over prompts; NaN where it is not known."""

    value: float
    low: float
    high: float


class RuleHalo(NamedTuple):
    """One rule, asked about by itself and in a call.

    Attributes:
      rule: its name.
      n: responses that have both ratings.
      same: share of them whose ratings fall to the same side of the scale's middle.
      difference: mean absolute difference of both ratings.
      correlation: Pearson's; NaN where a side is constant.
      same_reversed, difference_reversed: the same of the call and the call in reversed order.
    """

    rule: str
    n: int
    same: Interval
    difference: float
    correlation: float
    same_reversed: Interval
    difference_reversed: float


class Halo(NamedTuple):
    """How far ratings in calls are from ratings of each rule by itself.

    Attributes:
      responses, groups: N and G.
      rules: each by itself.
      same, difference, correlation: means over rules, of those that are known.
      isolated, together, halo: mean correlation between two rules over responses, when they are asked about one by one,
        in calls, and the difference, which is resampled in pairs.
      same_reversed: as `same`, of the call and the call in reversed order.
      trust: "yes", "no", or "open" where the sample is too small to tell.
      reasons: what decided, a sentence each.
    """

    responses: int
    groups: int
    rules: tuple[RuleHalo, ...]
    same: Interval
    difference: float
    correlation: float
    isolated: Interval
    together: Interval
    halo: Interval
    same_reversed: Interval
    trust: str
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Whether to trust ratings in calls, and why."""
        words = {
            YES: "Ratings of several rules in one call can stand for ratings of each rule by itself",
            NO: "Do not take ratings of several rules in one call for ratings of each rule by itself",
            OPEN: "This sample cannot tell whether ratings in calls can stand for ratings of each rule by itself",
        }
        return f"{words[self.trust]}: {'; '.join(self.reasons)}."

    def to_json(self) -> dict[str, Any]:
        """As JSON values with the sentence; numbers that are not known are null."""
        return _json(self) | {"sentence": self.sentence}


def _json(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _json(inner) for name, inner in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    return (value if math.isfinite(value) else None) if isinstance(value, float) else value


def measure_halo(
    isolated: Float[np.ndarray, "N K"],
    together: Float[np.ndarray, "N K"],
    reverse: Float[np.ndarray, "N K"] | None,
    rules: Sequence[str],
    group: Int[np.ndarray, " N"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Halo:
    """Compares three ways of asking the same questions; two, where nobody asked in the reversed order.

    The rule of decision: "yes" if the interval of `same` and of `same_reversed` lies at or above `LEAST_AGREEMENT` and
    that of `halo` at or below `MOST_HALO`; "no" if one of them lies wholly on the other side; else "open", as it is
    with fewer than `FEWEST_GROUPS` prompts. Without the reversed order it is never "yes".

    Args:
      isolated: ratings of each rule by itself, from 0 to 1, oriented; NaN where there is none.
      together: in calls.
      reverse: in calls in reversed order; columns in the order of `rules` all the same. None if nobody asked.
      rules: K names.
      group: of every response a number for its prompt.
      draws, seed: of the bootstrap.

    Raises:
      InputError: other shapes, or nothing that was rated in both ways.
    """
    asked = (isolated, together, np.full_like(together, np.nan, np.float64) if reverse is None else reverse)
    ways = [np.asarray(way, np.float64) for way in asked]
    shape = (len(np.asarray(group)), len(rules))
    if any(way.shape != shape for way in ways):
        problem = (
            f"ratings of shapes {', '.join(str(way.shape) for way in ways)} of {shape[0]} responses, {shape[1]} rules"
        )
        raise InputError(problem, where="halo", fix="give a row for each response and a column for each rule")
    if not (np.isfinite(ways[0]) & np.isfinite(ways[1])).any():
        raise InputError("no rating was given in both ways", where="halo", fix="use a judge that answers both")
    names = sorted(set(group))  # np.unique would pad every prompt to the longest
    number = {name: i for i, name in enumerate(names)}
    place = np.array([number[name] for name in group])
    rng = np.random.default_rng(seed)
    times_RN = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)[:, place].astype(np.float64)
    if len(names) < 2:  # drawn again it is the same, which would look like certainty
        times_RN = np.full_like(times_RN, np.nan)
    one, more, back = ways
    same, same_rules = _same(one, more, times_RN)
    again, again_rules = _same(more, back, times_RN)
    pairs = _both_known(one, more)
    alone_C, alone_RC = _between(one, pairs, times_RN)
    calls_C, calls_RC = _between(more, pairs, times_RN)
    usable = np.isfinite(alone_C) & np.isfinite(calls_C)
    alone, calls, halo = (
        _mean_interval(value[usable], drawn[:, usable])
        for value, drawn in ((alone_C, alone_RC), (calls_C, calls_RC), (calls_C - alone_C, calls_RC - alone_RC))
    )
    found = tuple(
        RuleHalo(name, *_of_rule(one[:, k], more[:, k]), again_rules[k], _difference(more[:, k], back[:, k]))
        for k, name in enumerate(rules)
    )
    found = tuple(rule._replace(same=same_rules[k]) for k, rule in enumerate(found))
    trust, reasons = decide(same, again, halo, len(names))
    means = (_mean([rule.difference for rule in found]), _mean([rule.correlation for rule in found]))
    return Halo(len(one), len(names), found, same, *means, alone, calls, halo, again, trust, reasons)


def decide(same: Interval, again: Interval, halo: Interval, groups: int) -> tuple[str, tuple[str, ...]]:
    """Whether to trust ratings in calls, and why; see `measure_halo`.

    >>> sure = Interval(0.97, 0.95, 0.99)
    >>> decide(sure, sure, Interval(0.02, -0.01, 0.05), 50)[0]
    'yes'
    >>> decide(sure, Interval(0.5, 0.4, 0.6), Interval(0.02, -0.01, 0.05), 50)[0]
    'no'
    >>> decide(sure, sure, Interval(0.1, 0.05, 0.15), 50)[0], decide(sure, sure, Interval(0.0, 0.0, 0.0), 5)[0]
    ('open', 'open')
    """
    verdicts = [_at_least(same), _at_least(again), _at_most(halo)]
    reasons = [
        f"both ways fall to the same side of the scale in {_shown(same)} of ratings "
        f"({percent(LEAST_AGREEMENT)} wanted)",
        f"in the reversed order {_shown(again)} do ({percent(LEAST_AGREEMENT)} wanted)"
        if math.isfinite(again.value)
        else "nobody asked in the reversed order, so that what the order does is not known",
        f"two rules correlate by {halo.value:+.2f} [{halo.low:+.2f}, {halo.high:+.2f}] more in a call "
        f"(at most {MOST_HALO:+.2f} wanted)"
        if math.isfinite(halo.value)
        else "how far two rules correlate is not known",
    ]
    if groups < FEWEST_GROUPS:
        return OPEN, (f"{groups} prompt{'s' * (groups != 1)}, and at least {FEWEST_GROUPS} are needed", *reasons)
    trust = NO if NO in verdicts else YES if set(verdicts) == {YES} else OPEN
    return trust, tuple(reasons)


def _shown(share: Interval) -> str:
    return f"{percent(share.value)} % [{percent(share.low)}, {percent(share.high)}]"


def _at_least(share: Interval) -> str:
    return YES if share.low >= LEAST_AGREEMENT else NO if share.high < LEAST_AGREEMENT else OPEN


def _at_most(halo: Interval) -> str:
    return YES if halo.high <= MOST_HALO else NO if halo.low > MOST_HALO else OPEN


def _of_rule(a: np.ndarray, b: np.ndarray) -> tuple[int, Interval, float, float]:
    both = np.isfinite(a) & np.isfinite(b)
    return int(both.sum()), Interval(math.nan, math.nan, math.nan), _difference(a, b), correlation(a[both], b[both])


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return _mean(np.abs(a - b))


def _same(a_NK: np.ndarray, b_NK: np.ndarray, times_RN: np.ndarray) -> tuple[Interval, list[Interval]]:
    """The share on the same side, as a mean over rules, and of each rule."""
    both = np.isfinite(a_NK) & np.isfinite(b_NK)
    equal = both & (sign(np.nan_to_num(a_NK) - 0.5) == sign(np.nan_to_num(b_NK) - 0.5))
    with np.errstate(invalid="ignore", divide="ignore"):
        share_K = equal.sum(0) / both.sum(0)
        share_RK = (times_RN @ equal) / (times_RN @ both)
    low, high = percentile_interval(share_RK)
    each = [Interval(*map(float, one)) for one in zip(share_K, low, high, strict=True)]
    return _mean_interval(share_K, share_RK), each


def _mean_interval(values: np.ndarray, drawn: np.ndarray) -> Interval:
    """The mean of what is known, with the interval of the draws' means."""
    if not np.isfinite(values).any():
        return Interval(math.nan, math.nan, math.nan)
    known = np.isfinite(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, drawn, 0.0).sum(1) / known.sum(1)
    low, high = percentile_interval(means)
    return Interval(_mean(values), float(low), float(high))


def _both_known(a_NK: np.ndarray, b_NK: np.ndarray) -> Bool[np.ndarray, "N C"]:
    """Responses at which two rules are rated in both ways, for each of the C pairs of rules."""
    known = np.isfinite(a_NK) & np.isfinite(b_NK)
    first, second = np.triu_indices(known.shape[1], 1)
    return known[:, first] & known[:, second]


def _between(
    ratings_NK: np.ndarray, known_NC: np.ndarray, times_RN: np.ndarray
) -> tuple[Float[np.ndarray, " C"], Float[np.ndarray, "R C"]]:
    """Correlation of each pair of rules over responses, and in each bootstrap draw; NaN where a side is constant."""
    first, second = np.triu_indices(ratings_NK.shape[1], 1)
    filled = np.nan_to_num(ratings_NK - 0.5)
    x, y = np.where(known_NC, filled[:, first], 0.0), np.where(known_NC, filled[:, second], 0.0)
    once = np.ones((1, len(ratings_NK)))
    return _weighted(once, x, y, known_NC)[0], _weighted(times_RN, x, y, known_NC)


def _weighted(times_RN: np.ndarray, x: np.ndarray, y: np.ndarray, known: np.ndarray) -> np.ndarray:
    n, sx, sy, sxx, syy, sxy = (times_RN @ part for part in (known.astype(float), x, y, x * x, y * y, x * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        vx, vy, cov = sxx / n - (sx / n) ** 2, syy / n - (sy / n) ** 2, sxy / n - sx * sy / n**2
        r = cov / np.sqrt(vx * vy)
    return np.where((vx > 1e-12) & (vy > 1e-12) & (n >= 3), np.clip(r, -1.0, 1.0), np.nan)


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """Of what is known; NaN of nothing."""
    values = np.asarray(values, np.float64)
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
