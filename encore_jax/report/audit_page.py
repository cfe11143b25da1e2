"""The audit as one HTML file: rules above, every comparison below, to be sorted, filtered and opened. No server.

The comparisons are JSON in the page; a script, allowed by its hash and by nothing else, shows only the rows in view.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from encore_jax.data import Comparison
from encore_jax.evaluation.audit import flips, whole_margin
from encore_jax.report.page import TEMPLATES, render

SCRIPTS = ("audit.js", "audit_detail.js")


def render_audit(
    facts: dict,
    rules: Sequence[dict],
    comparisons: Sequence[Comparison],
    scores: np.ndarray,
    contribution: np.ndarray,
    tolerance: np.ndarray | None = None,
    notes: Sequence[Sequence[str]] | None = None,
) -> str:
    """The page.

    Args:
      facts: name, label, description, accuracy, comparisons, of the run; and the recommendation that it opens with.
      rules: as from `audit_rules`.
      comparisons: N of them.
      scores: ``[N, 2, K]``, the preferred response first.
      contribution, tolerance: ``[N, K]``, see `encore_jax.evaluation.audit`.
      notes: for each comparison what a rule graph decided of both responses, in words.
    """
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "audit.html",
        facts=facts,
        recommendation=facts.get("recommendation"),
        rules=rules,
        data=Markup(embedded(page_data(rules, comparisons, scores, contribution, tolerance, notes))),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def page_data(
    rules: Sequence[dict], comparisons: Sequence[Comparison], scores, contribution, tolerance=None, notes=None
) -> dict:
    """What the script reads: lists in the order of the comparisons.

    Who wins, and which rules turn that when they are left out, is decided here: the page's numbers have six digits.
    """
    lost, gained = flips(contribution, tolerance)
    subsets = sorted({c.subset for c in comparisons})
    texts = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in comparisons]
    return {
        "rules": [rule["name"] for rule in rules],
        "weights": [rule["weight"] for rule in rules],
        "subsets": subsets,
        "subset": [subsets.index(c.subset) for c in comparisons],
        "id": [c.id for c in comparisons],
        "prompt": ["\n\n".join(f"{m.role}: {m.content}" for m in c.prompt) for c in comparisons],
        "texts": texts,
        "scores": _short(scores),
        "contributions": _short(contribution),
        "outcome": whole_margin(contribution, tolerance).sign.astype(int).tolist(),
        "notes": [list(both) for both in notes] if notes is not None else [],
        "turns": [np.flatnonzero(row).tolist() for row in lost | gained],
    }


def _short(values: np.ndarray) -> list:
    """Six significant digits, as numbers."""
    flat = [float(f"{value:.6g}") for value in np.asarray(values, np.float64).ravel()]
    return np.array(flat).reshape(np.shape(values)).tolist()


def embedded(value: object) -> str:
    """JSON that can stand in a script element: no text in it can end the element or begin a comment.

    >>> embedded({"text": "</script><!--"})
    '{"text":"\\\\u003c/script>\\\\u003c!--"}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
