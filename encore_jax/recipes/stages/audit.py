"""The audit: the main view's reward taken apart, comparison by comparison, as a page and as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from encore_jax.composition import margins
from encore_jax.composition.rule_graph import VETO, compile_graph
from encore_jax.csv_text import csv_text
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.audit import (
    GraphParts,
    audit_rules,
    contributions,
    graph_parts,
    tolerances,
    whole_margin,
)
from encore_jax.evaluation.first_line import model_line
from encore_jax.evaluation.method_names import SINGLE
from encore_jax.evaluation.methods import margins_by_method
from encore_jax.evaluation.results import agreement_facts
from encore_jax.formats import percent
from encore_jax.recipes.stages.compose import Composed
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.report import publish
from encore_jax.recipes.stages.score import Scored, scorable
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.report.audit_page import render_audit
from encore_jax.report.tables import probe_by_name, probe_words

PAGE, TABLE = "audit.html", "audit.csv"


class Audit(NamedTuple):
    """A reward taken apart.

    Attributes:
      facts: of the comparisons, and of every rule.
      page: HTML.
      contributions: arrays: ids of the comparisons, margins, which are tied, contributions ``[N, K]``, names of rules.
      table: the same as CSV, and under a rule graph what it decided of both responses.
    """

    facts: dict[str, Any]
    page: str
    contributions: dict[str, np.ndarray]
    table: str

    def save(self, folder: Path) -> None:
        """Writes audit.html, audit.csv, audit.json and contributions.npz."""
        np.savez(folder / "contributions.npz", **self.contributions)
        (folder / "audit.json").write_text(json.dumps(self.facts, indent=1))
        with atomic_path(folder / PAGE) as temporary:
            temporary.write_text(self.page, encoding="utf-8")
        with atomic_path(folder / TABLE) as temporary:
            temporary.write_text(self.table, encoding="utf-8")


def audit(name: str, data: Ingested, split: Split, trained: TrainedHeads, scored: Scored, composed: Composed) -> Audit:
    """The main view's reward taken apart, comparison by comparison; `name` is the run's."""
    kept, _, test = scorable(data.comparisons, texts_of(data, split), trained.scores["human"])
    chosen = [c for c, held_out in zip(kept, test, strict=True) if held_out]
    view = scored.main
    composition = composed.views[view.name]
    weights = composition.weights
    pairs = view.test
    parts, slack = contributions(pairs.scores, pairs.preferred, weights), tolerances(pairs.scores, weights)
    shown, names, delta = pairs.first_preferred, view.rules, np.asarray(margins(pairs.scores, pairs.preferred))
    decided = None
    if composed.passport.graph:
        decided = graph_parts(shown, weights, compile_graph(composed.passport.graph, view.rules))
        shown, parts, slack = decided.scores, decided.contribution, decided.tolerance
        if shown.shape[2] > len(names):
            names, weights = (*names, VETO), np.append(weights, 1.0)
            delta = np.concatenate([delta, parts[:, -1:]], 1)
    margin = whole_margin(parts, slack)
    rules = audit_rules(names, weights, parts, delta, jax.random.key(split.seed), slack)
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
        "recommendation": model_line(agreement_facts(composition.agreement), composition.chosen),
        "method": composition.chosen,
        "comparisons": len(pairs),
        "accuracy": float(margin.credit.mean()),
        "ties": int(margin.tied.sum()),
        "probe": halves.get(composition.chosen, ""),
        "probe_words": [text for text, _ in probe_words({"over_refusal": probe})],
    }
    notes, rows = None, {}
    if decided is not None:
        notes, rows = graph_notes(decided, view.rules)
        gain = percent(facts["accuracy"] - float(decided.plain.credit.mean()))
        facts["graph"] = (
            f"Rule graph: {composed.passport.graph}. The weighted sum alone is right in "
            f"{percent(float(decided.plain.credit.mean()))} %: the graph adds {gain} points. Vetoes set the reward of "
            f"{int((decided.decided_by >= 0).sum())} of {decided.decided_by.size} responses."
        )
        facts["accuracy_without_graph"] = float(decided.plain.credit.mean())
    page = render_audit(facts, rules, chosen, shown, parts, slack, notes)
    arrays = {
        "id": np.array([c.id for c in chosen], dtype=str),
        "margin": parts.sum(1),
        "tied": margin.tied,
        "contribution": parts,
        "rules": np.array(names),
    }
    rows |= {f"adds:{name}": parts[:, k].tolist() for k, name in enumerate(names)}
    rows = {"id": arrays["id"].tolist(), "margin": arrays["margin"].tolist(), "tied": margin.tied.tolist()} | rows
    table = csv_text(list(rows), zip(*rows.values(), strict=True))
    return Audit(facts | {"rules": rules}, page, arrays, table)


def graph_notes(decided: GraphParts, rules: Sequence[str]) -> tuple[list[list[str]], dict[str, list[str]]]:
    """What a rule graph decided of both responses of each comparison: in words, and as columns of a table."""
    vetoed = [["" if k < 0 else rules[k] for k in row] for row in decided.decided_by.tolist()]
    uncounted = [[[rules[k] for k in np.flatnonzero(side)] for side in both] for both in decided.not_counted]
    notes = [
        ["; ".join(filter(None, (veto and f"{veto} vetoes: its reward is capped",
                                 lost and f"does not count: {', '.join(lost)}")))
         for veto, lost in zip(*both, strict=True)]
        for both in zip(vetoed, uncounted, strict=True)
    ]  # fmt: skip
    columns = {}
    for side, name in enumerate(("preferred", "other")):
        columns[f"vetoed_by:{name}"] = [row[side] for row in vetoed]
        columns[f"not_counted:{name}"] = [" ".join(row[side]) for row in uncounted]
    return notes, columns


def publish_audit(audited: Path) -> None:
    """A copy of the audit beside the stages' folders."""
    publish(audited, (PAGE, TABLE))
