"""The report: everything in `results.json` as one HTML page that needs nothing else."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from markupsafe import Markup

from encore_jax.evaluation import wording
from encore_jax.evaluation.chance import chance_lines
from encore_jax.evaluation.coverage import Coverage
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.method_names import REFERENCE, SINGLE
from encore_jax.report import coverage_page
from encore_jax.report.account import account_lines
from encore_jax.report.figures import CROWDED, MOST_NAMES, configured_cell, histograms, view_figures
from encore_jax.report.glossary import COUNT_NAMES, GLOSSARY
from encore_jax.report.headline import headline
from encore_jax.report.label_next import label_context, of_run
from encore_jax.report.noise_figures import noise_figures
from encore_jax.report.page import render
from encore_jax.report.svg import drawn
from encore_jax.report.tables import (
    PROBED,
    over_refusal_lines,
    probe_by_name,
    probe_words,
    refusals,
)

MOST_PAIRS = 15
"""Of any two methods, so many pairs that differ most surely are shown; tables.csv has all."""
FEW = 20
"""Accuracy of a subset with fewer comparisons is shown, but greyed."""


def render_report(results: dict) -> str:
    """The page, the same text for the same results.

    Args:
      results: as written by the evaluate stage; may hold one view or several, and no noise study. Names in it are
        escaped; numbers that are `None` or NaN show as "n/a".
    """
    return render("report.html", **_context(results))


def render_preference_report(results: dict, curve: Markup) -> str:
    """The page of a reward model trained on preferences.

    Args:
      results: its results.json.
      curve: its loss by step, see `encore_jax.report.curve_figure`.
    """
    values = {"results": results, "curve": curve, "probe_lines": over_refusal_lines(results)}
    return render("preference.html", **values)


def render_rating_report(results: dict) -> str:
    """The page of a judge's ratings, by its results.json."""
    view = {"rules": results["rules"], "label": results["summary"]["label"]}
    title = f"Ratings of every rule ({view['label']})"
    figure = drawn(functools.partial(histograms, view), "ratings", title) if view["rules"] else ""
    lines = over_refusal_lines(results, by_rule=True)
    advice = results.get("advice") or {"label_next": []}
    listed = label_context(*of_run(advice["label_next"], results | advice))
    values = {"results": results, "histograms": figure, "probe_lines": lines, "label_next": listed}
    return render("ratings.html", **values)


def _context(results: dict) -> dict:
    study = results["noise_study"]
    return {
        "results": results,
        "first_line": first_line(results),
        "account": account_lines(results),
        "chance_lines": chance_lines(results),
        "views": [_view_context(view, f"view-{i}", results) for i, view in enumerate(results["views"], 1)],
        "noise": study
        and {
            "figures": noise_figures(study, "noise"),
            "summary": wording.noise_summary(study),
            "words": wording.noise_words(study),
        },
        "coverage": coverage_context(results),
        "counts": {stage: list(_count_rows(counts)) for stage, counts in results["counts"].items()},
        "limits": wording.limits(results),
        "glossary": GLOSSARY,
        "noise_models": wording.NOISE_MODELS,
        "no_real_judge": wording.NO_REAL_JUDGE,
        "noise_symbols": wording.NOISE_SYMBOLS.format(levels=results["config"]["semi_synthetic"]["levels"]),
        "few": FEW,
    }


def coverage_context(results: dict) -> dict | None:
    """The table of what intervals hold; None of a run without intervals, or from before there were any."""
    if not results.get("coverage"):
        return None
    found = Coverage.from_json(results["coverage"])
    figure = drawn(functools.partial(coverage_page.figure, found), "coverage", "Coverage of every interval")
    head, *rows = coverage_page.cells(found)
    shown = {"head": head, "rows": rows, "note": coverage_page.NOTE, "figure": figure if found.rows else ""}
    return shown | {"lines": found.sentences()}


def _view_context(view: dict, slug: str, results: dict) -> dict:
    synthetic = results["config"]["semi_synthetic"]
    outside = sum(rule["n"] - sum(rule["histogram"]) for rule in view["rules"])
    singles = sum(method["name"].startswith(SINGLE) for method in view["methods"])
    probe = probe_by_name(results) if view["name"] == PROBED else {}
    return view | {
        "probe": probe,
        "probe_words": [text for text, _ in probe_words(results)] if view["name"] == PROBED else [],
        "single": SINGLE,
        "methods": _grouped(view["methods"]),
        "closest_pairs": sorted(view["pairs"], key=lambda pair: pair["prompt_p"])[:MOST_PAIRS],
        "slug": slug,
        "simulated": view["label"] == "semi-synthetic",
        "noise_model": synthetic["noise"] if view["label"] == "semi-synthetic" else None,
        "synthetic": synthetic,
        "figures": view_figures(view, slug),
        "verdict_words": wording.verdict_words(view["premise"]),
        "gain_words": wording.gain_words(view["premise"]["gain"]),
        "headline": headline(view),
        "subsets": list(view["methods"][0]["subsets"]),
        "ratings_outside": outside,
        "crowded": len(view["rules"]) > CROWDED,
        "numbered": len(view["rules"]) > MOST_NAMES,
        "singles_left_out": singles if singles > MOST_NAMES else 0,
        "configured": configured_cell(view),
        "reference": REFERENCE,
        "refusals": [{"why": why, "names": ", ".join(names)} for why, names in refusals(view)],
        "weighting": view.get("weighting", "ENCORE"),
        "agreement": view.get("agreement"),
        "replicates": results["config"]["evaluate"]["replicates"],
    }


def _grouped(methods: list[dict]) -> list[dict]:
    """Marks where rules used alone, and then heuristics, begin."""
    kinds = [(m["name"].startswith(SINGLE), m["sees"] == "text") for m in methods]
    starts = [False, *(kind != before for before, kind in zip(kinds, kinds[1:], strict=False))]
    return [method | {"starts_group": start} for method, start in zip(methods, starts, strict=True)]


def _count_rows(counts: dict) -> Iterator[tuple[str, str, bool]]:
    """Name, value, and whether something was lost, of every count."""
    for key, value in counts.items():
        name = COUNT_NAMES.get(key, key.replace("_", " "))
        losing = "dropped" in key or "skipped" in key
        if not isinstance(value, dict):
            yield name, str(value), losing and bool(value)
        elif not value:
            yield name, "none", False
        for reason, amount in value.items() if isinstance(value, dict) else ():
            yield f"{name}: {reason}", str(amount), losing and bool(amount)
