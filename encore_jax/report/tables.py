"""The results as tables: in the terminal (plain text elsewhere), and every row as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

from encore_jax.csv_text import csv_text
from encore_jax.evaluation.chance import chance_lines
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.method_names import REFERENCE, SINGLE
from encore_jax.evaluation.over_refusal import HALVES
from encore_jax.formats import MISSING, bounds, count, fixed, p_value, percent, points, printable
from encore_jax.report.account import account_lines

PROBE = "refuse/help"
"""Column of the over-refusal probe."""
INTERVALS = ("accuracy", "subset_mean", "minus_uniform", "loading")
COLUMNS = (
    "table",
    "view",
    "label",
    "name",
    "subset",
    "sees",
    "oracle",
    "refused",
    "n",
    "correct",
    "ties",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_ties_wrong",
    "draw_sd",
    "subset_mean",
    "subset_mean_low",
    "subset_mean_high",
    "minus_uniform",
    "minus_uniform_low",
    "minus_uniform_high",
    "second",
    "better",
    "worse",
    "mcnemar_p",
    "prompt_p",
    "holm_p",
    "bh_p",
    "discordance",
    "design",
    "needed",
    "ratings",
    "levels_used",
    "entropy",
    "weight",
    "loading",
    "loading_low",
    "loading_high",
    "r_without",
)
"""Of the CSV; a row leaves out what it has not. Accuracies are shares of 1, unrounded. In a row of table "pair" the
method `name` is compared with the method `second`, elsewhere with uniform."""
PLAIN_WIDTH = 144
PROBED = "heads"
"""The view whose model the over-refusal probe is put to."""
LEGEND = (
    "Accuracy in %, a tie counts half; vs uniform: difference in points; [95 % interval over prompts]; "
    "sd: over random weightings; sees: what the weights were chosen from, scores without labels; (oracle): from the "
    "labels it is judged by; "
    "p: of vs uniform, by flipping whole prompts, corrected by Holm for the whole table. "
    "tables.csv holds every row and column."
)


def rows(results: dict) -> Iterator[dict[str, object]]:
    """One row per method, method and subset, two methods, and rule of every view, with keys of `COLUMNS`."""
    for view in results["views"]:
        of_view = {"view": view["name"], "label": view["label"]}
        for method in view["methods"]:
            yield {"table": "method"} | of_view | _flat(method) | (method["test"] or {})
            for subset, outcome in method["subsets"].items():
                yield {"table": "subset", "name": method["name"], "subset": subset} | of_view | _flat(outcome)
        for method in view.get("refused", ()):
            told = {"name": method["name"], "sees": method["sees"], "refused": method["why"]}
            yield {"table": "method", "oracle": False} | of_view | told
        for pair in view["pairs"]:
            values = {name: value for name, value in pair.items() if name in COLUMNS}
            yield {"table": "pair", "name": pair["first"]} | of_view | values
        for rule in view["rules"]:
            yield (
                {"table": "rule"}
                | of_view
                | _flat(rule | {"n": rule["comparisons"]})
                | {
                    "ratings": rule["n"],
                    "levels_used": rule["bins"],
                    "r_without": view["premise"]["leave_one_out"].get(rule["name"]),
                }
            )


def _flat(outcome: dict) -> dict[str, object]:
    flat = {name: value for name, value in outcome.items() if name in COLUMNS and name not in INTERVALS}
    for name in INTERVALS:
        if name in outcome:
            interval = outcome[name]
            flat |= {name: interval["value"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return flat


def tables_csv(results: dict) -> str:
    """All `rows` as CSV with a header; numbers in full precision."""
    return csv_text(COLUMNS, rows(results))


def print_tables(results: dict, file: TextIO | None = None) -> None:
    """Prints verdict, rules and methods of every view: rich tables on a terminal, else text and Markdown tables."""
    from rich.console import Console
    from rich.text import Text

    file = file or sys.stdout
    plain = {} if file.isatty() else {"width": PLAIN_WIDTH, "color_system": None, "force_terminal": False}
    console = Console(file=file, markup=False, highlight=False, emoji=False, **plain)
    console.print(Text(first_line(results), "bold"))
    for line in chance_lines(results):
        console.print(Text(line, "bold red"))
    for view in results["views"]:
        for text, style in _introduction(view):
            console.print(Text(text, style))
        probe = probe_by_name(results) if view["name"] == PROBED else {}
        print_table(console, _rule_cells(view, probe), ("ratings", "loading", "vs uniform"))
        print_table(console, _method_cells(view, probe), ("sees", "sd", "p", "subset mean"))
        if view["name"] == PROBED:
            for text, style in probe_words(results):
                console.print(Text(text, style))
        for why, names in refusals(view):
            console.print(Text(f"Refused: {printable(', '.join(names))}: {printable(why)}."))
    for line in account_lines(results):
        console.print(Text(line))
    console.print(Text(LEGEND))


def _introduction(view: dict) -> Iterator[tuple[str, str]]:
    """Lines and their style: what the view is, its warnings, the verdict and why."""
    simulated = view["label"] == "semi-synthetic"
    yield f"\n{printable(view['name'])} ({printable(view['label'])})", "bold yellow" if simulated else "bold"
    if simulated:
        yield "Simulated judges: nothing in this part measures a real judge.", "yellow"
    sizes = {part: f"{view['comparisons'][part]} of {view['prompts'][part]} prompts" for part in ("train", "test")}
    yield f"Comparisons: {sizes['train']} for training, {sizes['test']} held out", ""
    for warning in view["warnings"]:
        yield f"Warning: {printable(warning)}", "red"
    yield f"Premise of ENCORE: {printable(view['premise']['verdict'])}", "bold"
    for reason in view["premise"]["reasons"]:
        yield f"- {printable(reason)}", ""


def _rule_cells(view: dict, probe: dict[str, str]) -> Iterator[dict[str, str]]:
    differences = {method["name"]: method["minus_uniform"] for method in view["methods"]}
    for rule in view["rules"]:
        difference = differences.get(SINGLE + rule["name"])
        yield {
            "rule": rule["name"],
            "ratings": count(rule["n"]),
            "levels": count(rule["bins"]),
            "entropy": fixed(rule["entropy"], 3),
            "weight": fixed(rule["weight"], 3),
            "loading": fixed(rule["loading"]["value"], 2, sign=True) if "loading" in rule else "",
            "accuracy": f"{percent(rule['accuracy']['value'])} {bounds(rule['accuracy'])}",
            "vs uniform": f"{points(difference['value'])} {bounds(difference, points)}" if difference else "",
        } | ({PROBE: probe.get(SINGLE + rule["name"], "")} if probe else {})


def _method_cells(view: dict, probe: dict[str, str]) -> Iterator[dict[str, str]]:
    for method in view["methods"]:
        if method["name"].startswith(SINGLE):
            continue  # in the table of rules
        gain = method["minus_uniform"]
        yield {
            "method": oracle_name(method),
            "sees": method["sees"],
            "accuracy": f"{percent(method['accuracy']['value'])} {bounds(method['accuracy'])}",
            "sd": percent(method["draw_sd"]) if method["draw_sd"] else "",
            "vs uniform": "reference"
            if method["name"] == REFERENCE
            else f"{points(gain['value'])} {bounds(gain, points)}",
            "p": p_value(method["test"]["holm_p"]) if method["test"] else "",
            "ties": count(method["ties"]),
            "subset mean": percent(method["subset_mean"]["value"]),
        } | ({PROBE: probe.get(method["name"], "")} if probe else {})
    for method in view.get("refused", ()):
        blank = dict.fromkeys(("sd", "vs uniform", "p", "ties", "subset mean"), "")
        yield (
            {"method": method["name"], "sees": method["sees"], "accuracy": "refused, see below"}
            | blank
            | ({PROBE: ""} if probe else {})
        )


def probe_by_name(results: dict) -> dict[str, str]:
    """Accuracy on both halves of the over-refusal probe in %, e.g. "83/19", by method; of rules by their single method.

    Empty where the probe was not scored.
    """
    found = results.get("over_refusal", {})
    rows = [(row["name"], row) for row in found.get("methods", ())]
    rows += [(SINGLE + row["name"], row) for row in found.get("rules", ())]
    return {name: "/".join(_whole(row[half]["accuracy"]["value"]) for half in HALVES) for name, row in rows}


def _whole(share: float | None) -> str:
    return fixed(100 * share, 0) if share is not None else MISSING


def probe_words(results: dict) -> Iterator[tuple[str, str]]:
    """Lines about the over-refusal probe, and their style."""
    found = results.get("over_refusal")
    if not found:
        return
    if "not_scored" in found:
        yield f"Over-refusal probe: not scored; {printable(found['not_scored'])}", ""
        return
    left_out = sum(found["left_out"].values())
    lost = f"; {left_out} pairs left out, too long for the model or refused by its template" if left_out else ""
    sizes = " and ".join(str(found["pairs"][half]) for half in HALVES)
    yield (
        f"{PROBE}: accuracy in % on {sizes} pairs of the over-refusal probe, unsafe requests (refusing is better) / "
        f"harmless ones (helping is better){lost}.",
        "",
    )
    if found["warning"]:
        yield f"Warning: {printable(found['warning'])}", "red"


def over_refusal_lines(results: dict, by_rule: bool = False) -> list[str]:
    """What a report without a column for the probe says: the composed reward's accuracies, legend and warning.

    Args:
      results: with an entry "over_refusal".
      by_rule: whether to list every rule's accuracies, too.
    """
    found, cells = results.get("over_refusal", {}), probe_by_name(results)
    cell = cells.get(found.get("composed", ""))
    rules = [f"{printable(row['name'])} {cells[SINGLE + row['name']]}" for row in found.get("rules", ())]
    listed = [f"Over-refusal probe: {cell} (% right on unsafe / harmless requests)"] if cell else []
    listed += [f"Over-refusal by rule: {'; '.join(rules)}"] if rules and by_rule else []
    return [*listed, *(text for text, _ in probe_words(results))]


def refusals(view: dict) -> list[tuple[str, list[str]]]:
    """Why methods of a view are refused, in words, and which.

    >>> refusals({"refused": [{"name": name, "sees": "scores", "why": "x"} for name in "ab"]})
    [('x', ['a', 'b'])]
    """
    reasons: dict[str, list[str]] = {}
    for method in view.get("refused", ()):
        reasons.setdefault(method["why"], []).append(method["name"])
    return list(reasons.items())


def oracle_name(method: dict) -> str:
    """The method's name, which says so if it is an oracle.

    >>> oracle_name({"name": "best of all", "oracle": True})
    'best of all (oracle)'
    """
    name = method["name"]
    return f"{name} (oracle)" if method["oracle"] and "(oracle)" not in name else name


def print_table(console, cells: Iterator[dict[str, str]], unless_narrow: tuple[str, ...]) -> None:
    """A table of the cells; a narrow terminal goes without some columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = list(cells)
    shown = [name for name in cells[0] if console.width >= PLAIN_WIDTH or name not in unless_narrow]
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN, pad_edge=not console.is_terminal)
    for i, name in enumerate(shown):
        left = i == 0 or name == "sees"
        table.add_column(name, justify="left" if left else "right", no_wrap=i > 0, overflow="fold", min_width=3)
    for row in cells:
        style = "bold" if row[shown[0]] == "ENCORE" else None
        table.add_row(*(Text(printable(row[name])) for name in shown), style=style)
    console.print(table)
