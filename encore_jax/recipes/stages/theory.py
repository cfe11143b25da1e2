"""The theory's two stages: every claim measured, and the report of the verdicts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax

from encore_jax.data.atomic import atomic_path
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
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.report import PUBLISHED, publish
from encore_jax.recipes.theory_config import TheoryConfig
from encore_jax.report.theory_page import render_theory, theory_text


def check_claims(config: TheoryConfig, folder: Path) -> None:
    """Writes results.json."""
    *keys, diagram = jax.random.split(jax.random.key(config.seed), 4)
    claims: list[Claim] = []
    found: dict = {"views": []}

    def simulate(make, key):
        return lambda: claims.extend(make(key, config.pairs, config.repeats))

    def simulate_junk():
        found["junk"] = junk_diagram(jax.random.fold_in(diagram, 1), config.pairs)

    def simulate_agreement():
        claims.extend(agreement_claims(jax.random.fold_in(diagram, 2), config.pairs, config.repeats))

    def simulate_phase():
        found["phase"] = phase_diagram(diagram, config.pairs, config.repeats)

    def real(path: str):
        view = View.load(Path(path))
        return lambda: found["views"].append(trained_weights(view, config.seed, config.replicates))

    makers = (weight_claims, entropy_claims, noise_claims)
    work = [*map(simulate, makers, keys), simulate_phase, simulate_agreement, simulate_junk, *map(real, config.views)]
    for step in track(work, float(len(work)), "theory"):
        step()
    claims += [*phase_claims(found["phase"]), *junk_claims(found["junk"])]
    results = {
        "name": config.name,
        "claims": [claim.plain() for claim in claims],
        "phase": found["phase"],
        "junk": found["junk"],
        "views": found["views"],
        "chance": CHANCE,
        "config": to_dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1))


def report_theory(checked: Path, folder: Path) -> None:
    """Writes results.json and report.html, copies them up to the work directory, and shows the verdicts."""
    results = json.loads((checked / "results.json").read_text(encoding="utf-8"))
    shutil.copyfile(checked / "results.json", folder / "results.json")
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(render_theory(results), encoding="utf-8")
    show_theory(folder)


def show_theory(folder: Path) -> None:
    """Prints the verdicts of a finished report and makes sure that the work directory holds its copies."""
    publish(folder)
    print(theory_text(json.loads((folder / PUBLISHED[0]).read_text(encoding="utf-8"))))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}")
