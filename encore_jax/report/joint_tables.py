"""The results of joint training as tables: Markdown for the terminal and the documentation, and every row as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from encore_jax.csv_text import csv_text
from encore_jax.evaluation.first_line import first_line
from encore_jax.formats import count, fixed, points
from encore_jax.report.ramo_tables import number
from encore_jax.report.text_tables import markdown

ACCURACY_HEAD = (
    "trained on", "tested on", "arm", "reward", "accuracy, % [95 %]", "minus preferences alone, points", "n", "prompts",
)  # fmt: skip
ERROR_HEAD = ("trained on", "tested on", "rule heads of", "squared error [95 %]", "minus rules alone", "n")
COLUMNS = ("table", "trained_on", "tested_on", "arm", "method", "n", "metric", "value", "low", "high")
EVERYTHING = "all"
"""What a training on every domain together is called."""


def place(row: Mapping) -> str:
    """The domain that a row is tested on, marked where it is not one that was trained on."""
    inside = row["trained_on"] in (row["tested_on"], EVERYTHING)
    return row["tested_on"] if inside else f"{row['tested_on']} (out)"


def accuracy_cells(results: Mapping) -> Iterator[list[str]]:
    """One row per model, tested domain and reward, what is in distribution first; then what reads no model."""
    rows = sorted(results["accuracy"], key=lambda row: (row["trained_on"], row["tested_on"] != row["trained_on"]))
    for row in rows:
        yield [
            row["trained_on"], place(row), row["words"], row["method"], number(row["accuracy"]),
            number(row["minus_preferences"], points) if row["minus_preferences"] else "", count(row["n"]),
            count(row["prompts"]),
        ]  # fmt: skip
    for row in results["heuristics"]:
        yield ["", row["tested_on"], "heuristic", row["name"], number(row["accuracy"]), "", "", ""]


def error_cells(results: Mapping) -> Iterator[list[str]]:
    """One row per trained domain, tested domain and arm with rules, and one of the constant."""
    for row in sorted(results["errors"], key=lambda row: (row["trained_on"], row["tested_on"] != row["trained_on"])):
        difference = row["minus_rules"]
        yield [
            row["trained_on"], place(row), row["words"], number(row["error"], thousandths),
            number(difference, thousandths) if difference else "", count(row["n"]),
        ]  # fmt: skip


def thousandths(value: float | None) -> str:
    """Three decimals."""
    return fixed(value, 3)


def loss_words(results: Mapping) -> str:
    """How far each model's training loss fell, in words; the arms' losses are different sums."""
    known = [(name, told) for name, told in results["losses"].items() if told]
    return "; ".join(f"{name} {thousandths(told['first'])} to {thousandths(told['last'])}" for name, told in known)


def joint_tables(results: Mapping) -> str:
    """What a terminal shows."""
    tables = [markdown(ACCURACY_HEAD, accuracy_cells(results)), markdown(ERROR_HEAD, error_cells(results))]
    told = (
        "Agreement with people, a tie counts half; intervals over prompts. (out): another distribution than that of "
        "training. Errors of rule heads on held-out ratings from 0 to 1."
    )
    return "\n\n".join(
        [first_line(results), results["name"], *tables, told, f"Training loss by model: {loss_words(results)}"]
    )


def joint_csv(results: Mapping) -> str:
    """Every number and its interval, one a row."""

    def rows() -> Iterator[tuple]:
        for table, keys in (("accuracy", ("accuracy", "minus_preferences")), ("errors", ("error", "minus_rules"))):
            for row in results[table]:
                for key in keys:
                    if row[key]:
                        where = row["trained_on"], row["tested_on"], row["arm"], row.get("method", ""), row["n"]
                        yield table, *where, key, *(row[key][part] for part in ("value", "low", "high"))

    return csv_text(COLUMNS, rows())
