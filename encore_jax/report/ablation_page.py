"""The page of an ablation: its results.json as one HTML file that needs nothing else."""

from __future__ import annotations

from markupsafe import Markup

from encore_jax.evaluation.wording import NO_REAL_JUDGE
from encore_jax.report.ablation_figures import ablation_figures
from encore_jax.report.page import render


def render_ablation(results: dict) -> str:
    """The page, the same text for the same results."""
    figures = {
        name: [Markup(svg) for svg in made] if isinstance(made, list) else Markup(made)
        for name, made in ablation_figures(results).items()
    }
    figures = {"sizes": None, "rules": None} | figures
    context = {"results": results, "figures": figures, "replicates": results["config"]["replicates"]}
    return render("ablation.html", **context | {"no_real_judge": NO_REAL_JUDGE})
