"""The list of comparisons to label next, as the terminal and pages show it: one form wherever such a list stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from encore_jax.evaluation.label_next import AGAIN, LabelPlace, label_table, place_in_run, where_to_label
from encore_jax.formats import shortened
from encore_jax.report.text_tables import markdown

if TYPE_CHECKING:
    from encore_jax.evaluation.reliability import Reliability

NARROW = 48
"""Characters of a text in a terminal."""


def label_lines(
    names: Sequence[str], begins: Sequence[Sequence[str]], place: LabelPlace, single: bool = False
) -> list[str]:
    """Lines for a terminal; none where there is nothing to label. See `label_table` for the arguments.

    >>> print("\\n".join(label_lines(["t.csv:2"], [["Hi", "Hello!", "Go."]], LabelPlace("side", "t.csv"))))
    Label next:
    | comparison | prompt | response a | response b |
    |---|---|---|---|
    | t.csv:2 | Hi | Hello! | Go. |
    Write each label into t.csv, in a column "preferred": the better response, a or b. Then run the same command again.
    """
    if not names:
        return []
    head, rows = label_table(names, begins, place, single)
    last = where_to_label(place, single)
    if len(head) == 1:
        names = ", ".join(row[0] for row in rows)
        first = f", the most telling first: {head[0]}s" if len(rows) > 1 else f": {head[0]}"
        return [f"Label next{first} {names}.", last]
    cells = [[row[0], *(shortened(cell, NARROW).replace("|", "\\|") for cell in row[1:])] for row in rows]
    return [f"Label next{', the most telling first' * (len(rows) > 1)}:", markdown(head, cells), last]


def label_context(
    names: Sequence[str], begins: Sequence[Sequence[str]], place: LabelPlace, single: bool = False
) -> dict | None:
    """The same for the template label_next.html; None where there is nothing to label."""
    if not names:
        return None
    head, rows = label_table(names, begins, place, single)
    return {"head": head, "rows": rows, "names": [row[0] for row in rows] if len(head) == 1 else None,
            "where": where_to_label(place, single)}  # fmt: skip


def of_reliability(found: Reliability) -> tuple[Sequence[str], Sequence[Sequence[str]], LabelPlace, bool]:
    """The arguments of both for `encore_jax.reliability`'s result."""
    return found.label_ids, found.label_texts, found.label_place, found.single


def of_run(label_next: Sequence[str], results: dict, workdir: str = "RUN") -> tuple:
    """The arguments of both for a run's results.json, which an older version may have written without texts."""
    begins = results.get("label_texts") or []
    data = (results.get("config") or {}).get("data") or {}
    if results.get("kind") in ("adapter", "ramo"):  # their ratings are of more than one source
        return label_next, begins, LabelPlace("index", str(data.get("path") or ""), then=AGAIN)
    return label_next, begins, place_in_run(data, workdir, "panel" if "panel" in results else "rate")
