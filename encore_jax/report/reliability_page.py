"""Reliability as text, notebook view, page and figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encore_jax.evaluation.reliability import Reliability
from encore_jax.evaluation.reliability_notes import notes
from encore_jax.formats import typeset
from encore_jax.report.label_next import label_context, of_reliability
from encore_jax.report.page import render
from encore_jax.report.reliability_tables import (
    PROBABILITY,
    cells,
    foretelling,
    has_labels,
    head,
    reliability_text,
    what_n_counts,
    what_to_use,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "reliability.html"

text = reliability_text


def html(found: Reliability) -> str:
    """The recommendation and the table of rules, as a notebook shows them."""
    return render("reliability_table.html", **_context(found))


def page(found: Reliability, first: str = "", input_record: str = "") -> str:
    """The page, the same text for the same ratings.

    Args:
      found: what is known.
      first: what it says of what to use, if more than the advice.
      input_record: what `encore_jax.data.input_record` says of the inputs.
    """
    from encore_jax.report.reliability_figures import reliability_figures

    return render(
        "reliability.html", **_context(found, first), input_record=input_record, figures=reliability_figures(found)
    )


def figure(found: Reliability) -> Figure:
    """Loading of every rule with its interval; beside it, with labels, how often the rule is right."""
    from encore_jax.report.reliability_figures import overview

    return overview(found)


def _context(found: Reliability, first: str = "") -> dict:
    rows = [[typeset(cell) if i else cell for i, cell in enumerate(row)] for row in cells(found)]
    camps = [[found.rules[k].rule for k in camp] for camp in found.common.camps]
    return {
        "column_lines": found.columns,
        "recommendation": first or what_to_use(found),
        "notes": notes(found),
        "head": head(found),
        "rows": rows,
        "foretelling": [[words, typeset(value)] for words, value in foretelling(found)],
        "label_next": label_context(*of_reliability(found)),
        "verdict": found.common.verdict,
        "factors": found.common.factors,
        "effective_rules": found.common.effective_rules,
        "camps": camps,
        "between": found.common.between,
        "labelled": has_labels(found),
        "prompts": found.prompts,
        "rules": len(found.rules),
        "what_n_counts": what_n_counts(found),
        "probability": PROBABILITY,
        "accuracy": [(name, found.accuracy[name], found.better_than_uniform.get(name)) for name in found.accuracy],
    }
