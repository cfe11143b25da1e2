"""The audit: the main view's reward taken apart, comparison by comparison, as a page and as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from encore_jax.composition import margins
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.audit import audit_rules, contributions, tolerances, whole_margin
from encore_jax.evaluation.method_names import SINGLE
from encore_jax.evaluation.methods import margins_by_method
from encore_jax.recipes.stages.compose import Composed
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.score import Scored, scorable
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.report.audit_page import render_audit
from encore_jax.report.tables import probe_by_name, probe_words

PAGE = "audit.html"


class Audit(NamedTuple):
    """A reward taken apart.

    Attributes:
      facts: of the comparisons, and of every rule.
      page: HTML.
      contributions: arrays: ids of the comparisons, margins, which are tied, contributions ``[N, K]``, names of rules.
    """

    facts: dict[str, Any]
    page: str
    contributions: dict[str, np.ndarray]

    def save(self, folder: Path) -> None:
        """Writes audit.html, audit.json and contributions.npz."""
        np.savez(folder / "contributions.npz", **self.contributions)
        (folder / "audit.json").write_text(json.dumps(self.facts, indent=1))
        with atomic_path(folder / PAGE) as temporary:
            temporary.write_text(self.page, encoding="utf-8")


def audit(name: str, data: Ingested, split: Split, trained: TrainedHeads, scored: Scored, composed: Composed) -> Audit:
    """The main view's reward taken apart, comparison by comparison; `name` is the run's."""
    kept, _, test = scorable(data.comparisons, texts_of(data, split), trained.scores["human"])
    chosen = [c for c, held_out in zip(kept, test, strict=True) if held_out]
    view = scored.main
    composition = composed.views[view.name]
    weights = composition.weights
    pairs = view.test
    parts, slack = contributions(pairs.scores, pairs.preferred, weights), tolerances(pairs.scores, weights)
    margin = whole_margin(parts, slack)
    delta = np.asarray(margins(pairs.scores, pairs.preferred))
    rules = audit_rules(view.rules, weights, parts, delta, jax.random.key(split.seed), slack)
    probe = probe_results(
        trained.probe,
        view.rules,
        lambda scores: margins_by_method(scores, [composition.composed_by]),
        composition.chosen,
        split.seed,
    )
    halves = probe_by_name({"over_refusal": probe})
    rules = [rule | {"probe": halves.get(SINGLE + rule["name"], "")} for rule in rules]
    facts = {
        "name": name,
        "label": view.label,
        "description": view.description,
        "recommendation": composition.agreement.recommendation,
        "method": composition.chosen,
        "comparisons": len(pairs),
        "accuracy": float(margin.credit.mean()),
        "ties": int(margin.tied.sum()),
        "probe": halves.get(composition.chosen, ""),
        "probe_words": [text for text, _ in probe_words({"over_refusal": probe})],
    }
    page = render_audit(facts, rules, chosen, pairs.first_preferred, parts, slack)
    arrays = {
        "id": np.array([c.id for c in chosen], dtype=str),
        "margin": parts.sum(1),
        "tied": margin.tied,
        "contribution": parts,
        "rules": np.array(view.rules),
    }
    return Audit(facts | {"rules": rules}, page, arrays)
