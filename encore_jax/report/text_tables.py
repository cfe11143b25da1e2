"""Plain-text (Markdown) tables for the terminal and for pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from encore_jax.formats import bounds, count, fixed, percent


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def aligned(cells: list[list[str]]) -> list[str]:
    """Rows of a table as lines: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    ]


def preference_table(held_out: Mapping) -> str:
    """The methods as a plain-text (Markdown) table.

    >>> one = {"name": "model", "n": 4, "correct": 3, "ties": 0, "accuracy": {"value": 0.75, "low": 0.5, "high": 1.0},
    ...        "model_ahead_by": {"value": 0.0, "low": 0.0, "high": 0.0}}
    >>> print(preference_table({"methods": [one]}))
    | method | accuracy, % [95 %] | ties | n |
    |---|---|---|---|
    | model | 75.0 [50.0, 100.0] | 0 | 4 |
    """
    lines = ["| method | accuracy, % [95 %] | ties | n |", "|---|---|---|---|"]
    for method in held_out["methods"]:
        accuracy = method["accuracy"]
        shown = f"{percent(accuracy['value'])} {bounds(accuracy)}"
        lines.append(f"| {method['name']} | {shown} | {count(method['ties'])} | {count(method['n'])} |")
    return "\n".join(lines)


def rating_table(rules: Iterable[Mapping]) -> str:
    """The rules as a plain-text (Markdown) table.

    >>> print(rating_table([{"name": "kind", "n": 4, "mean": 0.5, "entropy": 1.0, "relevance": None, "accuracy": 0.75,
    ...                      "pairs": 2}]))
    | rule | ratings | mean | entropy | relevance, % | agrees with people, % | pairs |
    |---|---|---|---|---|---|---|
    | kind | 4 | 0.500 | 1.000 | n/a | 75.0 | 2 |
    """
    head = "| rule | ratings | mean | entropy | relevance, % | agrees with people, % | pairs |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for rule in rules:
        shown = (fixed(rule["mean"], 3), fixed(rule["entropy"], 3), percent(rule["relevance"]))
        lines.append(
            f"| {rule['name']} | {rule['n']} | {' | '.join(shown)} | {percent(rule['accuracy'])} | {rule['pairs']} |"
        )
    return "\n".join(lines)
