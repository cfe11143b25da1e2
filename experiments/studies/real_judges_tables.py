"""The study of real judges as tables: the same cells in the terminal, on the page and in README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from encore_jax.evaluation.first_line import first_line
from encore_jax.formats import bounds, fixed, percent, points, printable
from encore_jax.report.text_tables import markdown
from experiments.studies.judges import (
    AGREEMENT,
    BY_LOADING,
    CRITICAL,
    ENCORE,
    LOADING,
    NUMBERS,
    PRODUCT,
    RANDOM,
    UNIFORM,
)
from experiments.studies.resampled import POLICIES

ONE_FACTOR = "one common factor"
OF_AGREEMENT = (AGREEMENT, LOADING, PRODUCT)
"""Weightings that follow what the rules have in common."""
REFUSED = "*"
"""Stands behind an accuracy of agreement weights that the tool would refuse without an anchor rule or labels."""

RULES_HEAD = (
    "data (judges)", "rules", "pairs", "r(entropy), ties half", "r(entropy), decided", "r(entropy, tie rate)",
    "r(loading), ties half", "r(loading), decided", "the rules have in common",
)  # fmt: skip
REWARD_HEAD = ("data", UNIFORM, ENCORE, AGREEMENT, LOADING, PRODUCT)
CRITICAL_HEAD = ("data", "all rules", RANDOM, *(f"r = {r}: by discrepancy / × loading" for r in NUMBERS))
JUNK_HEAD = (
    "added to ChatGPT's 6 criteria",
    "rules",
    "r(entropy)",
    "r(loading)",
    UNIFORM,
    ENCORE,
    AGREEMENT,
    "verdict",
)
METHOD_HEAD = ("method", "ties half", "ties wrong", "decided", "minus uniform", "ties")
RULE_HEAD = ("rule", "entropy", "ties", "loading", "accuracy, ties half", "ties wrong", "decided")
NO_TIES = "no ties"


def correlation(found: Mapping) -> str:
    """r with its interval; words where ratings never tie."""
    if found["value"] is None:
        return NO_TIES
    return f"{fixed(found['value'], sign=True)} [{fixed(found['low'], sign=True)}, {fixed(found['high'], sign=True)}]"


def share(found: Mapping) -> str:
    """An accuracy in percent with its interval."""
    return f"{percent(found['value'])} {bounds(found)}"


def rules_cells(studies: Sequence[Mapping]) -> Iterator[list[str]]:
    """What goes with the rules' accuracy, a row per data set."""
    for found in studies:
        r = found["correlations"]
        verdict = found["verdict"]
        if verdict == "the pool splits":
            verdict += ": " + " and ".join(str(len(camp)) for camp in found["camps"])
        yield [
            printable(f"{found['name']} ({found['judges']})"), str(len(found["rules"])), str(found["complete_pairs"]),
            correlation(r["entropy"]["half"]), correlation(r["entropy"]["decided"]),
            correlation(r["tie rate"]["entropy"]), correlation(r["loading"]["half"]),
            correlation(r["loading"]["decided"]), verdict,
        ]  # fmt: skip


def reward_cells(studies: Sequence[Mapping]) -> Iterator[list[str]]:
    """Accuracy of the composed reward, ties half."""
    for found in studies:
        methods = {method["name"]: method for method in found["methods"]}
        mark = "" if found["verdict"] == ONE_FACTOR else REFUSED
        of_agreement = [share(methods[name]["half"]) + mark for name in OF_AGREEMENT]
        yield [printable(found["name"]), *(share(methods[name]["half"]) for name in (UNIFORM, ENCORE)), *of_agreement]


def critical_cells(studies: Sequence[Mapping]) -> Iterator[list[str]]:
    """Accuracy where only the r rules of largest discrepancy decide, ties half."""
    for found in studies:
        methods = {method["name"]: method for method in found["methods"]}
        pairs = [[methods.get(f"{name}, r = {r}") for name in (CRITICAL, BY_LOADING)] for r in NUMBERS]
        cells = [" / ".join(share(method["half"]) for method in pair) if all(pair) else "" for pair in pairs]
        yield [printable(found["name"]), share(methods[UNIFORM]["half"]), share(methods[RANDOM]["half"]), *cells]


def junk_cells(junk: Sequence[Mapping]) -> Iterator[list[str]]:
    """Means over draws of the junk, with the lowest and the highest."""
    for row in junk:
        verdict = ", ".join(f"{name} ({count} of {row['draws']})" for name, count in row["verdicts"].items())
        verdict = verdict if row["draws"] > 1 else next(iter(row["verdicts"]))
        accuracy = [share(row[name]) if row["draws"] > 1 else percent(row[name]["value"]) for name in
                    (UNIFORM, ENCORE, AGREEMENT)]  # fmt: skip
        if ONE_FACTOR not in row["verdicts"]:
            accuracy[-1] += REFUSED
        r = [correlation(row[name]) if row["draws"] > 1 else fixed(row[name]["value"], sign=True) for name in
             ("entropy", "loading")]  # fmt: skip
        yield [
            row["kind"] if row["draws"] == 1 else f"24 rules, {row['kind']}",
            str(row["rules"]),
            *r,
            *accuracy,
            verdict,
        ]


def method_cells(found: Mapping) -> Iterator[list[str]]:
    """Every method of one data set under every policy of ties."""
    mark = "" if found["verdict"] == ONE_FACTOR else REFUSED
    for method in found["methods"]:
        name, difference = method["name"], method["minus_uniform"]
        name += mark if name in OF_AGREEMENT or name.startswith(BY_LOADING) else ""
        gain = f"{points(difference['value'])} {bounds(difference, points)}"
        policies = [share(method[policy]) for policy in POLICIES]
        yield [name, *policies, "" if name == UNIFORM else gain, percent(method["tie_rate"])]


def rule_cells(found: Mapping) -> Iterator[list[str]]:
    """Every rule of one data set."""
    for rule in found["rules"]:
        yield [
            printable(rule["name"]), fixed(rule["entropy"]["value"]), percent(rule["tie_rate"]),
            correlation(rule["loading"]), *(share(rule[policy]) for policy in POLICIES),
        ]  # fmt: skip


def main_tables(results: Mapping) -> list[tuple[str, str]]:
    """Caption and Markdown of the tables that say it all."""
    studies = results["studies"]
    tables = [
        ("Over the rules: what goes with accuracy", markdown(RULES_HEAD, rules_cells(studies))),
        ("Accuracy of the composed reward, %, ties half", markdown(REWARD_HEAD, reward_cells(studies))),
        (
            "Accuracy where only the r rules of largest discrepancy decide, %, ties half",
            markdown(CRITICAL_HEAD, critical_cells(studies)),
        ),
    ]
    if results["junk"]:
        draws = results["config"]["junk_draws"]
        caption = f"Junk rules added to HANNA's, accuracy in %; mean [lowest, highest] of {draws} draws of the junk"
        tables.append((caption, markdown(JUNK_HEAD, junk_cells(results["junk"]))))
    return tables


def footnotes(results: Mapping) -> list[str]:
    """What a reader of the tables must know."""
    draws = results["config"]["replicates"]
    lines = [
        f"[95 % interval over prompts, or over dialogues; {draws} draws; weights are those of the whole data].",
        f"{REFUSED} The pool splits, so agreement weights are refused unless an anchor rule or labels say which part "
        "is meant; the accuracy is what they would have had.",
    ]
    for found in results["studies"]:
        left_out = found["pairs"] - found["complete_pairs"]
        notes = [*found["notes"], f"Methods are compared on the other {found['complete_pairs']}." if left_out else ""]
        lines += [f"{found['name']}: {' '.join(filter(None, notes))}"] if any(notes) else []
    if results["missing"]:
        lines.append(f"Not found, and left out: {', '.join(results['missing'])}.")
    return lines


def judges_text(results: Mapping) -> str:
    """Everything as plain text (Markdown tables)."""
    lines: list[str] = [first_line(results), ""]
    for caption, table in main_tables(results):
        lines += [caption, "", table, ""]
    for found in results["studies"]:
        lines += [f"{found['name']}: accuracy of every method, %", "", markdown(METHOD_HEAD, method_cells(found)), ""]
    return "\n".join([*lines, *map(printable, footnotes(results))])
