"""The page of an adapter's or a RAMO run."""

from __future__ import annotations

from encore_jax.formats import typeset
from encore_jax.report import ramo_tables as tables
from encore_jax.report.label_next import label_context, of_run
from encore_jax.report.page import render
from encore_jax.report.ramo_figures import ramo_figures
from encore_jax.report.tables import probe_by_name

WHAT_TRAINS = {
    "heads": "K logits (or one reward head) on the frozen backbone's last-token feature; the backbone is not changed",
    "gradient": "by gradient, as the configuration says",
}


def render_ramo_report(results: dict) -> str:
    """The page, the same text for the same results."""
    ramo, probe = results["kind"] == "ramo", probe_by_name(results)
    shown = {
        "results": results,
        "adapter": results["adapter"],
        "figures": ramo_figures(results),
        "choosers": _table(tables.CHOOSER_HEAD, tables.chooser_cells(results["adapter"])),
        "labels": _table(tables.LABEL_HEAD, tables.label_cells(results["labels"])) if ramo else None,
        "arms": _table(tables.ARM_HEAD, tables.arm_cells(results["arms"]["rows"], probe)) if ramo else None,
        "heuristics": {k: typeset(tables.number(v)) for k, v in results["arms"]["heuristics"].items()} if ramo else {},
        "probe_lines": tables.probe_lines(results),
        "refused": tables.refused_arms(results),
        "theory": tables.theory_words(results["simulation"]["verdicts"]),
        "trains": {
            "adapter": WHAT_TRAINS[results["config"]["adapter" if ramo else "train"]["method"]],
            "reward": WHAT_TRAINS[results["config"]["train"]["method"]] if ramo else "",
        },
    }
    advice = results.get("advice") or {}
    shown["label_next"] = label_context(*of_run(advice.get("label_next", []), results | advice))
    return render("ramo.html", **shown)


def _table(head, rows) -> dict:
    return {"head": head, "rows": [[typeset(cell) if i else cell for i, cell in enumerate(row)] for row in rows]}
