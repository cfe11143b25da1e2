"""Audit pages of made-up comparisons, for tests."""

import numpy as np

from encore_jax.data import Comparison, Message
from encore_jax.evaluation.audit import contributions
from encore_jax.report.audit_page import render_audit

RECOMMENDATION = "Use equal weights. Nothing speaks for others."


def made_up(
    comparisons: int, rules: int, text: str = "An answer of some length, as answers are. "
) -> tuple[str, np.ndarray]:
    """The page, and the margin of every comparison."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(comparisons, 2, rules)).astype(np.float32)
    weights, preferred = np.full(rules, 1 / rules, np.float32), rng.integers(0, 2, comparisons)
    records = [
        Comparison(
            (Message("user", f"Question {i}?"),), (f"{i} {text}", f"{i} no"), int(p), subset="ab"[i % 2], id=f"c{i}"
        )
        for i, p in enumerate(preferred)
    ]
    parts = contributions(scores, preferred, weights)
    numbers = dict.fromkeys(("agreement", "share", "gain", "shapley"), 0.5)
    numbers |= {"weight": 1 / rules, "ties": 0, "lost": 1, "gained": 2, "shapley_se": 0.0}
    found = [numbers | {"name": f"rule {k}"} for k in range(rules)]
    facts = {"name": "made up", "label": "semi-synthetic", "description": "Made up.", "method": "equal weights"}
    facts |= {"comparisons": comparisons, "accuracy": float((parts.sum(1) > 0).mean())}
    facts |= {"recommendation": RECOMMENDATION, "ties": 0}
    first = np.take_along_axis(scores, np.stack([preferred, 1 - preferred], 1)[..., None], 1)
    return render_audit(facts, found, records, first, parts), parts.astype(np.float64).sum(1)
