"""The theory: every claim measured, and the report of the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from encore_jax.evaluation.theory_agreement import agreement_claims
from encore_jax.evaluation.theory_claims import CHANCE, Claim
from encore_jax.evaluation.theory_entropy import entropy_claims
from encore_jax.evaluation.theory_junk import junk_claims, junk_diagram
from encore_jax.evaluation.theory_noise import noise_claims
from encore_jax.evaluation.theory_phase import phase_claims, phase_diagram
from encore_jax.evaluation.theory_ratings import trained_weights
from encore_jax.evaluation.theory_weights import weight_claims
from encore_jax.evaluation.view import View
from encore_jax.progress import track
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.outside import OneFile
from encore_jax.recipes.stages.report import PUBLISHED, Pages, pages_of, publish
from encore_jax.report.theory_page import render_theory, theory_text


def check_claims(
    pairs: int, repeats: int, views: Sequence[OneFile], replicates: int, seed: int, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Every claim with what was predicted and what was measured.

    Args:
      pairs: in each simulation.
      repeats: of each simulation; they give the standard errors.
      views: of real ratings.
      replicates: bootstrap replicates over a view's prompts.
      seed: of the simulations.
      config: the whole configuration as plain values, for the record.
    """
    *keys, diagram = jax.random.split(jax.random.key(seed), 4)
    claims: list[Claim] = []
    found: dict = {"views": []}

    def simulate(make, key):
        return lambda: claims.extend(make(key, pairs, repeats))

    def simulate_junk():
        found["junk"] = junk_diagram(jax.random.fold_in(diagram, 1), pairs)

    def simulate_agreement():
        claims.extend(agreement_claims(jax.random.fold_in(diagram, 2), pairs, repeats))

    def simulate_phase():
        found["phase"] = phase_diagram(diagram, pairs, repeats)

    def real(file: OneFile):
        view = View.load(file.path)
        return lambda: found["views"].append(trained_weights(view, seed, replicates))

    makers = (weight_claims, entropy_claims, noise_claims)
    work = [*map(simulate, makers, keys), simulate_phase, simulate_agreement, simulate_junk, *map(real, views)]
    for step in track(work, float(len(work)), "theory"):
        step()
    claims += [*phase_claims(found["phase"]), *junk_claims(found["junk"])]
    return {
        "name": config["name"],
        "claims": [claim.plain() for claim in claims],
        "phase": found["phase"],
        "junk": found["junk"],
        "views": found["views"],
        "chance": CHANCE,
        "config": dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def report_theory(results: dict[str, Any]) -> Pages:
    """results.json and report.html."""
    return pages_of(results, {"report.html": render_theory})


def show_theory(folder: Path) -> None:
    """Prints the verdicts of a finished report and makes sure that the work directory holds its copies."""
    print(theory_text(publish(folder)))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}")
