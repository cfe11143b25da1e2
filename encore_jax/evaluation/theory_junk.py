"""Who wins: equal weights, ENCORE or agreement, by share of junk rules, noise of the others, and a shared nuisance.

Rules answer on five levels. A useful rule guesses with a probability between half of the noise level and that level,
and otherwise sees quality; a junk rule's answers are uniform, and all junk rules give the same one (the nuisance) with
a probability of their own. Weights come from pairs without labels, accuracy from pairs of a good and a bad response.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np

from encore_jax.composition import entropy_weights, rating_entropy
from encore_jax.composition.ties import credit, rule_tolerance, weighted_margin
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.theory_claims import Claim, Row
from encore_jax.evaluation.view import Pairs

RULES, LEVELS, TAU = 15, 5, 2.0
SHARES, NOISES, SHARED = (0.0, 0.4, 0.8), (0.6, 0.9), (0.0, 0.5, 0.9)
MOST_PAIRS = 2000
"""Pairs that weights are made from; the test has as many again."""
METHODS = ("equal weights", "ENCORE", "agreement")


def _rated(rng, quality: np.ndarray, junk: int, noise: float, shared: float) -> np.ndarray:
    """Ratings ``[N, K]`` of responses of quality 0 or 1."""
    n, good = len(quality), RULES - junk
    level = rng.integers(0, LEVELS, (n, RULES)) / (LEVELS - 1)
    errs = rng.random((n, good)) < np.linspace(noise / 2, noise, good)
    nuisance = rng.integers(0, LEVELS, (n, 1)) / (LEVELS - 1)
    useful = np.where(errs, level[:, :good], quality[:, None])
    useless = np.where(rng.random((n, junk)) < shared, nuisance, level[:, good:])
    return np.concatenate([useful, useless], 1).astype(np.float32)


def junk_diagram(key, pairs: int) -> list[dict]:
    """Every cell: accuracies by method (None: refused), their standard error, and who wins by more than chance."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    n = min(pairs, MOST_PAIRS)
    names = tuple(f"rule {k}" for k in range(RULES))
    cells = []
    for share, noise, shared in itertools.product(SHARES, NOISES, SHARED):
        junk = round(share * RULES)
        quality = rng.integers(0, 2, (2, n)).astype(float)
        seen = np.stack([_rated(rng, q, junk, noise, shared) for q in quality], 1)
        test = np.stack([_rated(rng, np.full(n, q), junk, noise, shared) for q in (1.0, 0.0)], 1)
        entropy = np.asarray(rating_entropy(seen, levels=LEVELS))
        unlabelled = Pairs(seen, np.arange(n) % 2, np.arange(n), np.full(n, "all"))
        found = rule_agreement(unlabelled, names, draws=100)
        by_chance = found.by_labels  # these labels say nothing
        agreement = None if found.weights is None or by_chance else found.weights
        weights = dict(
            zip(METHODS, (np.ones(RULES), np.asarray(entropy_weights(entropy, TAU)), agreement), strict=True)
        )
        difference, slack = (
            (test[:, 0] - test[:, 1]).astype(float),
            rule_tolerance(test[:, 0], test[:, 1]).astype(float),
        )
        credits = {
            name: credit(*weighted_margin(difference, slack, np.asarray(w, np.float64))) if w is not None else None
            for name, w in weights.items()
        }
        cells.append(
            {"junk": share, "noise": noise, "shared": shared, "refused": found.refused, "pairs": n}
            | {"accuracy": {name: None if c is None else float(c.mean()) for name, c in credits.items()}}
            | {"winner": _winner(credits)}
            | _gain(credits)
        )
    return cells


def _gain(credits: dict) -> dict:
    """Agreement minus equal weights, and its standard error; None where agreement is refused."""
    if credits["agreement"] is None:
        return {"gain": None, "error": None}
    ahead = credits["agreement"] - credits["equal weights"]
    return {"gain": float(ahead.mean()), "error": float(ahead.std() / len(ahead) ** 0.5)}


def _winner(credits: dict) -> str:
    """The method that beats every other by two standard errors of the difference; "nobody" if none does."""
    known = {name: c for name, c in credits.items() if c is not None}
    for name, own in known.items():
        ahead = [own - other for rival, other in known.items() if rival != name]
        if all(by.mean() > 2 * by.std() / len(by) ** 0.5 for by in ahead):
            return name
    return "nobody"


def junk_claims(cells: list[dict]) -> list[Claim]:
    """What the diagram must show."""

    def at(share, noise, shared):
        return next(c for c in cells if (c["junk"], c["noise"], c["shared"]) == (share, noise, shared))

    worst, wins = at(0.8, 0.9, 0.9), [at(share, 0.9, 0.0) for share in (0.4, 0.8)]
    rows = [
        Row(
            f"agreement minus equal weights, {100 * c['junk']:g} % junk of independent noise",
            0.0,
            -1.0 if c["gain"] is None else c["gain"],
            c["error"] or 0.0,
            ">",
        )
        for c in wins
    ]
    rows.append(
        Row("80 % junk that shares a nuisance: refused", 1.0, float(worst["accuracy"]["agreement"] is None), 0.0)
    )
    return [
        Claim(
            "junk-diagram",
            "Agreement wins as junk grows, unless the junk agrees with itself: then it is refused",
            f"{RULES} rules on {LEVELS} levels: useful ones that guess, and junk of uniform answers.",
            "The gain over equal weights is positive with 40 % and 80 % junk; where junk rules share a nuisance the "
            "pool splits.",
            tuple(rows),
        )
    ]
