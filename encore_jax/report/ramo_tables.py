"""The results of an adapter's or a RAMO run as tables: Markdown for the terminal, and every row as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from encore_jax.csv_text import csv_text
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.method_names import SINGLE
from encore_jax.evaluation.over_refusal import HALVES
from encore_jax.evaluation.ramo import ARM_WORDS, arm_name
from encore_jax.formats import bounds, count, fixed, percent, points, printable
from encore_jax.report.label_next import label_lines, of_run
from encore_jax.report.tables import PROBE, over_refusal_lines, probe_by_name
from encore_jax.report.text_tables import markdown

CHOOSERS = {"adapter": "Rule Adapter", "most frequent": "floor: most frequent rules", "random": "floor: random rules"}
COLUMNS = (
    "table", "label", "name", "arm", "r", "size", "seeds", "n", "metric", "value", "low", "high", "seed_sd",
)  # fmt: skip
"""Of the CSV: one number and its interval a row."""


def number(interval: Mapping, form=percent) -> str:
    """A value and its interval.

    >>> number({"value": 0.5, "low": 0.25, "high": 0.75})
    '50.0 [25.0, 75.0]'
    """
    return f"{form(interval['value'])} {bounds(interval, form)}"


def nats(value: float | None) -> str:
    """Mutual information, in thousandths of a nat.

    >>> nats(0.0123)
    '12.3'
    """
    return fixed(None if value is None else 1000 * value, 1)


def chooser_cells(adapter: Mapping) -> Iterator[list[str]]:
    """Name, recall, precision, mAP, macro AUC."""
    for name, words in CHOOSERS.items():
        row = adapter["choosers"][name]
        yield [words, *(number(row[key]) for key in ("recall", "precision", "map")), percent(row["macro_auc"])]


def label_cells(labels: Sequence[Mapping]) -> Iterator[list[str]]:
    """Arm, r, agreement, information, ties, flips, rules that a judge must rate."""
    for row in labels:
        yield [
            ARM_WORDS[row["arm"]], count(row["r"]) if row["r"] else "all" if row["arm"] != "human" else "",
            number(row["agreement"]), number(row["information"], nats), percent(row["ties"]), percent(row["flips"]),
            count(row["judge_calls"]),
        ]  # fmt: skip


def arm_cells(rows: Sequence[Mapping], probe: Mapping[str, str]) -> Iterator[list[str]]:
    """Arm, r, size, accuracy, what the probe says, spread over seeds, differences from the initial model and from all
    rules; `probe` holds "refuse/help" by `arm_name`."""
    for row in rows:
        yield [
            row["words"], count(row["r"]) if row["r"] else "", count(row["size"]) if row["size"] else "all",
            number(row["accuracy"]), probe.get(arm_name(row["arm"], row["r"], row["size"]), ""),
            percent(row["seed_sd"]) if row["seed_sd"] is not None else "",
            *(number(row[key], points) if row[key] else "" for key in ("minus_initial", "minus_all")),
        ]  # fmt: skip


CHOOSER_HEAD = ("chooser", "recall@r, %", "precision@r, %", "mAP, %", "macro AUC, %")
LABEL_HEAD = (
    "labels by",
    "r",
    "agree with people, %",
    "information, mnat",
    "ties, %",
    "flipped vs all rules, %",
    "rules judged",
)
ARM_HEAD = (
    "reward model trained on",
    "r",
    "size",
    "accuracy, %",
    PROBE,
    "sd over seeds",
    "minus initial, points",
    "minus all rules, points",
)


def ramo_tables(results: Mapping) -> str:
    """All tables as text."""
    adapter, label = results["adapter"], results["rate"]["label"]
    calibration = adapter["calibration"]
    parts = [
        f"\n{first_line(results)}",
        f"\n{results['name']} ({label}): {results['rate']['description']}\n",
        f"Rule Adapter: the {adapter['r']} critical of {adapter['k']} rules, {adapter['n']} held-out comparisons; both "
        f"orders agree on {percent(adapter['consistency'])} % of the rules; Brier {fixed(calibration['brier'], 4)}, "
        f"calibration error {fixed(calibration['expected_error'], 4)}\n",
        markdown(CHOOSER_HEAD, chooser_cells(adapter)),
    ]
    if results["kind"] == "ramo":
        parts += ["\nLabels", markdown(LABEL_HEAD, label_cells(results["labels"]))]
        parts += [
            "\nReward models on held-out comparisons, agreement with people",
            markdown(ARM_HEAD, arm_cells(results["arms"]["rows"], probe_by_name(results))),
        ]
        parts += [f"heuristic {name}: {number(value)}" for name, value in results["arms"]["heuristics"].items()]
    parts += refused_arms(results)
    parts += probe_lines(results)
    found = results["simulation"]["verdicts"]
    parts.append(f"\nSimulation: the argument for the largest discrepancies {theory_words(found)}.")
    advice = results.get("advice") or {}
    return "\n".join([*parts, *label_lines(*of_run(advice.get("label_next", []), results | advice))])


def probe_lines(results: Mapping) -> list[str]:
    """What the over-refusal probe says: of RAMO's own reward, or of an adapter's rules together, and rule by rule."""
    found = results.get("over_refusal", {})
    named = [f"The reward is that of: {printable(found['composed'])}."] if "composed" in found else []
    return named + over_refusal_lines(results, by_rule=True)


def refused_arms(results: Mapping) -> list[str]:
    """A sentence for each arm that was not labelled by, with the reason."""
    refused = results["counts"].get("label", {}).get("arms_refused", {})
    return [f"Refused: {ARM_WORDS[arm]}: {printable(why)}." for arm, why in refused.items()]


def theory_words(found: Mapping) -> str:
    """Where the argument holds, in words.

    >>> theory_words({"holds": [0.0], "fails": [0.1, 0.5]})
    'holds where 0 % of the signs are flipped, and fails at 10 %, 50 %'
    """
    shares = {name: ", ".join(f"{100 * q:g} %" for q in found[name]) for name in ("holds", "fails")}
    holds = f"holds where {shares['holds']} of the signs are flipped" if found["holds"] else "holds nowhere"
    return holds + (f", and fails at {shares['fails']}" if found["fails"] else "")


def ramo_rows(results: Mapping) -> Iterator[dict]:
    """One number a row, with keys of `COLUMNS`."""
    base = {"label": results["rate"]["label"]}
    adapter = results["adapter"]
    for name, row in adapter["choosers"].items():
        at = base | {"table": "adapter", "name": name, "r": adapter["r"], "n": adapter["n"]}
        for key in ("recall", "precision", "map"):
            yield at | {"metric": key} | row[key]
        yield at | {"metric": "macro_auc", "value": row["macro_auc"]}
    for rule in adapter["rules"]:
        for key in ("auc", "share", "train_share"):
            yield base | {"table": "rule", "name": rule["name"], "n": adapter["n"], "metric": key, "value": rule[key]}
    for row in results.get("labels", ()):
        at = base | {"table": "labels", "arm": row["arm"], "r": row["r"], "n": row["n"]}
        for key in ("agreement", "information"):
            yield at | {"metric": key} | row[key]
        for key in ("ties", "flips", "judge_calls"):
            yield at | {"metric": key, "value": row[key]}
    for name, row in probe_rows(results):
        for half in HALVES:
            at = base | {"table": "probe", "name": name, "n": row[half]["n"]}
            yield at | {"metric": f"accuracy, {half}"} | row[half]["accuracy"]
    for row in results.get("arms", {}).get("rows", ()):
        at = base | {"table": "arms"} | {key: row[key] for key in ("arm", "r", "size", "seeds", "n")}
        yield at | {"metric": "accuracy", "seed_sd": row["seed_sd"]} | row["accuracy"]
        for key in ("minus_initial", "minus_all"):
            if row[key]:
                yield at | {"metric": key} | row[key]
    for row in results["simulation"]["rows"]:
        at = {"table": "simulation", "label": "simulated", "name": row["strategy"], "size": row["flips"]}
        yield at | {"metric": "information"} | row["information"]
        for key in ("exact", "predicted"):
            yield at | {"metric": key, "value": row[key]}


def probe_rows(results: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Name and row of the over-refusal probe, of every model and every rule."""
    found = results.get("over_refusal", {})
    yield from ((row["name"], row) for row in found.get("methods", ()))
    yield from ((SINGLE + row["name"], row) for row in found.get("rules", ()))


def ramo_csv(results: Mapping) -> str:
    """All `ramo_rows` as CSV with a header; numbers in full precision."""
    return csv_text(COLUMNS, ramo_rows(results))
