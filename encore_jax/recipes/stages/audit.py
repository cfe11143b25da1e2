"""Stage audit: the main view's reward taken apart, comparison by comparison, as a page and as tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np

from encore_jax.composition import margins
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.audit import audit_rules, contributions, tolerances, whole_margin
from encore_jax.evaluation.method_names import SINGLE
from encore_jax.evaluation.methods import margins_by_method
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.stages import compose, ingest, train
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.score import load_views, scorable
from encore_jax.recipes.stages.texts import texts_of
from encore_jax.report.audit_page import render_audit
from encore_jax.report.tables import probe_by_name, probe_words

PAGE = "audit.html"


def audit(config: ExperimentConfig, ingested: Path, trained: Path, scored: Path, composed: Path, folder: Path) -> None:
    """Writes audit.html, audit.json (rules) and contributions.npz (ids, margins, contributions of every comparison).

    The page is also copied up to the work directory.
    """
    _, _, comparisons = ingest.load(ingested)
    kept, _, test = scorable(comparisons, texts_of(config, ingested), train.load_scores(trained, "human"))
    chosen = [c for c, held_out in zip(kept, test, strict=True) if held_out]
    view, composition = load_views(scored)[0], compose.load(composed, "heads")
    weights = composition.weights
    pairs = view.test
    parts, slack = contributions(pairs.scores, pairs.preferred, weights), tolerances(pairs.scores, weights)
    margin = whole_margin(parts, slack)
    delta = np.asarray(margins(pairs.scores, pairs.preferred))
    rules = audit_rules(view.rules, weights, parts, delta, jax.random.key(config.seed), slack)
    probe = probe_results(
        trained, view.rules, lambda scores: margins_by_method(scores, [composition.composed_by]), composition.chosen,
        config.seed,
    )  # fmt: skip
    halves = probe_by_name({"over_refusal": probe})
    rules = [rule | {"probe": halves.get(SINGLE + rule["name"], "")} for rule in rules]
    facts = {
        "name": config.name,
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
    ids = np.array([c.id for c in chosen], dtype=str)
    np.savez(folder / "contributions.npz", id=ids, margin=parts.sum(1), tied=margin.tied, contribution=parts,
             rules=np.array(view.rules))  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(facts | {"rules": rules}, indent=1))
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(render_audit(facts, rules, chosen, pairs.first_preferred, parts, slack), encoding="utf-8")
    publish(folder)


def publish(folder: Path) -> None:
    """Makes sure that the work directory holds a copy of the finished page."""
    with atomic_path(folder.parent / PAGE) as temporary:
        shutil.copyfile(folder / PAGE, temporary)
