"""The page of an ablation: its results.json as one HTML file that needs nothing else."""

from __future__ import annotations

from encore_jax.evaluation.wording import NO_REAL_JUDGE
from encore_jax.report.ablation_figures import ablation_figures
from encore_jax.report.page import render


def render_ablation(results: dict) -> str:
    """The page, the same text for the same results."""
    replicates = results["config"]["replicates"]
    given = {"results": results, "replicates": replicates, "no_real_judge": NO_REAL_JUDGE}
    return render("ablation.html", **given, figures=ablation_figures(results))
