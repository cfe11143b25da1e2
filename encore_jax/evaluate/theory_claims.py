"""What a claim is: assumption, prediction, measurement, and a verdict that the measurement decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

STANDARD_ERRORS = 4.0
"""A prediction is met if it lies within so many standard errors: of 100 true rows, one in 150 reports strays."""
ROUNDING = 2e-4
"""And this is forgiven besides: fp32, and the plug-in estimator's bias."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One prediction beside its measurement.

    Attributes:
      what: the quantity.
      predicted, measured, error: closed form, mean of repeated simulations, its standard error.
      relation: "=": measured must equal predicted; "<" or ">": it must lie beyond it, by more than chance.
    """

    what: str
    predicted: float
    measured: float
    error: float
    relation: str = "="

    @property
    def met(self) -> bool:
        gap, slack = self.measured - self.predicted, STANDARD_ERRORS * self.error
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
        met = sum(row["met"] for row in rows)
        return dataclasses.asdict(self) | {"rows": rows, "verdict": self.verdict, "met": met}


def repeated(what: str, predicted: float, samples: Sequence[float], relation: str = "=") -> Row:
    """A row from the outcomes of repeated simulations."""
    samples = np.asarray(samples, np.float64)
    return Row(
        what, float(predicted), float(samples.mean()), float(samples.std(ddof=1) / math.sqrt(len(samples))), relation
    )
