"""Which weighting to use: the one place where that is decided, and the command that does it.

Three things count, the strongest first: labels that favour a weighting, whether ratings justify agreement weights at
all, and whether anything speaks against these. Where nothing carries a weighting, equal weights are used.

Letters: K rules.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from encore_jax.evaluation.few_labels import CHOSEN

SPEAKS_FOR = 0.5
"""Where there are labels, agreement weights are recommended only if they beat equal weights with a higher probability.

At one half they lose as often as they win: the labels' estimate of the gain is then 0 or below, and a weighting that is
fitted must not cost accuracy where it is measured. A higher bound would ask labels to prove alone what loadings already
support."""

Weighting = Literal["agreement", "entropy", "uniform"]
Why = Literal["labels", "loadings", "labels against", "loadings unsure", "refused"]
MODEL, RATINGS, SCORES = "This model", "Your ratings", "These scores"
"""What a decision is about."""
IN_WORDS = {"agreement": "agreement weights", "entropy": "entropy weights (ENCORE)", "uniform": "equal weights"}
COMPOSES = {"agreement": "agreement", "entropy": "ENCORE", "uniform": "uniform"}
"""What a passport and a report call the weighting of a composed model."""


class Decision(NamedTuple):
    """What to use.

    Attributes:
      use: the weighting.
      why: "labels" favour it; "loadings" support agreement, and no label speaks against it; or, for equal weights,
        "labels against" agreement, "loadings unsure" (most intervals contain 0), or agreement is "refused".
      unsure, known: how many loadings have an interval that contains 0, of how many whose interval is known.
    """

    use: Weighting
    why: Why
    unsure: int
    known: int


def decide(
    low: Float[np.ndarray, " K"],
    high: Float[np.ndarray, " K"],
    *,
    justified: bool,
    accuracy: Mapping[str, float],
    better: Mapping[str, float],
) -> Decision:
    """The weighting that the evidence carries; equal weights where it carries none.

    Args:
      low, high: ``[K]``, 95 % interval of every loading on what the agreement weights follow; NaN where unknown.
      justified: whether there are agreement weights at all.
      accuracy: by labels, of every weighting; empty without labels.
      better: by labels, the probability of every other weighting to beat "uniform"; empty without labels.

    >>> sure, unsure = np.full(3, 0.2), np.full(3, -0.2)
    >>> decide(sure, sure + 0.5, justified=True, accuracy={}, better={})
    Decision(use='agreement', why='loadings', unsure=0, known=3)
    >>> decide(unsure, unsure + 0.5, justified=True, accuracy={}, better={}).why
    'loadings unsure'
    >>> decide(sure, sure + 0.5, justified=True, accuracy={}, better={"agreement": 0.5}).why
    'labels against'
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    known = np.isfinite(low) & np.isfinite(high)
    counts = (int((known & (low <= 0) & (high >= 0)).sum()), int(known.sum()))
    if likely := [name for name, p in better.items() if p >= CHOSEN]:
        return Decision(max(likely, key=lambda name: accuracy[name]), "labels", *counts)
    if not justified:
        return Decision("uniform", "refused", *counts)
    if better and better["agreement"] <= SPEAKS_FOR:
        return Decision("uniform", "labels against", *counts)
    if 2 * counts[0] > counts[1]:
        return Decision("uniform", "loadings unsure", *counts)
    return Decision("agreement", "loadings", *counts)


def about(subject: str, recommendation: str) -> str:
    """A recommendation that says what it is about.

    >>> about(MODEL, "Use equal weights.")
    'This model: use equal weights.'
    """
    return f"{subject}: {recommendation[:1].lower()}{recommendation[1:]}"


def how_for_model(use: str, composed_by: str, workdir: str = "RUN") -> str:
    """How to give a run's reward model the weighting that is advised for it.

    Args:
      use: the weighting; "" if nothing is advised.
      composed_by: what its weights are now, as its passport says.
      workdir: of the run.

    >>> how_for_model("uniform", "ENCORE", "runs/a")
    'Its weights are by ENCORE; to change that: encore export --workdir=runs/a --out=FOLDER --folded --weights=uniform.'
    >>> how_for_model("uniform", "uniform")
    'Its weights are these.'
    """
    if not use:
        return ""
    if COMPOSES[use] == composed_by:
        return "Its weights are these."
    if use == "entropy":
        change = "run it again with --config.compose.method=entropy"
    else:
        change = f"encore export --workdir={shlex.quote(workdir)} --out=FOLDER --folded --weights={use}"
    return f"Its weights are by {composed_by}; to change that: {change}." if composed_by else f"To do so: {change}."


def how_for_scores(use: str) -> str:
    """How to score with the weighting that is advised for a model whose scores these are.

    >>> how_for_scores("uniform")
    'To score so: the same encore score command with --weights=uniform and another --output.'
    """
    if use not in ("uniform", "agreement"):
        return ""
    return f"To score so: the same encore score command with --weights={use} and another --output."
