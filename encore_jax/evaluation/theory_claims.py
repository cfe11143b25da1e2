"""What a claim is: assumption, prediction, measurement, and a verdict that the measurement decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

CHANCE = 1e-5
"""A true prediction is missed by chance in so many rows: one report of a hundred rows in a thousand."""
ROUNDING = 2e-4
"""And this is forgiven besides: fp32, and the plug-in estimator's bias."""


def tolerated(freedom: float) -> float:
    """Standard errors that chance exceeds in `CHANCE` of all rows: Student's t by its expansion about the normal.

    >>> round(tolerated(math.inf), 2), round(tolerated(19), 1)
    (4.42, 5.9)
    """
    z = NormalDist().inv_cdf(1 - CHANCE / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclasses.dataclass(frozen=True)
class Row:
    """One prediction beside its measurement.

    Attributes:
      what: the quantity.
      predicted, measured, error: closed form, mean of repeated simulations, its standard error.
      freedom: degrees of freedom of the standard error; infinite where it is known.
      relation: "=": measured must equal predicted; "<" or ">": it must lie beyond it, by more than chance.
    """

    what: str
    predicted: float
    measured: float
    error: float
    relation: str = "="
    freedom: float = math.inf

    @property
    def met(self) -> bool:
        gap, slack = self.measured - self.predicted, tolerated(self.freedom) * self.error
        if self.relation == "=":
            return bool(abs(gap) <= slack + ROUNDING)
        return bool(gap < -slack if self.relation == "<" else gap > slack)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement, on what it rests, what it predicts, what was measured."""

    name: str
    title: str
    assumption: str
    prediction: str
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> str:
        """ "confirmed" if every row is met, else "contradicted"."""
        return "confirmed" if self.rows and all(row.met for row in self.rows) else "contradicted"

    def plain(self) -> dict:
        """Ready for JSON."""
        rows = [dataclasses.asdict(row) | {"met": row.met} for row in self.rows]
        for row in rows:
            del row["freedom"]  # may be infinite, which JSON cannot hold
        met = sum(row["met"] for row in rows)
        return dataclasses.asdict(self) | {"rows": rows, "verdict": self.verdict, "met": met}


def repeated(what: str, predicted: float, samples: Sequence[float], relation: str = "=") -> Row:
    """A row from the outcomes of repeated simulations."""
    samples = np.asarray(samples, np.float64)
    error = float(samples.std(ddof=1) / math.sqrt(len(samples)))
    return Row(what, float(predicted), float(samples.mean()), error, relation, len(samples) - 1)
