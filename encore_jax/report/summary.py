"""A run of rule heads on one screen: what to use, and per view the premise, the reliability and the best of each kind.

Everything else is in report.html and tables.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

from encore_jax.evaluation.chance import chance_lines
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.method_names import REFERENCE
from encore_jax.formats import bounds, fixed, percent, points, printable
from encore_jax.report.account import account_lines
from encore_jax.report.headline import headline
from encore_jax.report.tables import PLAIN_WIDTH, oracle_name, print_table, probe_by_name, probe_words

LEFT_TO_THE_REPORT = ("judges-heads",)
"""Views that the terminal leaves out."""
LEGEND = "Accuracy in %, a tie counts half; vs uniform in points; [95 % interval over prompts]; best: by test accuracy."


def print_summary(results: dict, file: TextIO | None = None, workdir: str = "RUN") -> None:
    """Prints the summary: a rich table per view on a terminal, else text and Markdown tables.

    Args:
      results: of a run of rule heads.
      file: to print to; standard output if left out.
      workdir: of the run, for the command that follows the advice.
    """
    from rich.console import Console
    from rich.text import Text

    file = file or sys.stdout
    plain = {} if file.isatty() else {"width": PLAIN_WIDTH, "color_system": None, "force_terminal": False}
    console = Console(file=file, markup=False, highlight=False, emoji=False, **plain)
    for line in results.get("counts", {}).get("ingest", {}).get("columns", ()):
        console.print(Text(f"Columns. {printable(line)}", "bold"))
    console.print(Text(first_line(results, workdir), "bold"))
    for line in chance_lines(results):
        console.print(Text(line, "bold red"))
    for view in results["views"]:
        if view["name"] in LEFT_TO_THE_REPORT:
            continue
        for text, style in _lines(view):
            console.print(Text(text, style))
        print_table(console, _cells(view), ("what",))
    composed = probe_by_name(results).get(results.get("over_refusal", {}).get("composed", ""))
    if composed:
        console.print(Text(f"Over-refusal probe of the composed reward, refuse/help: {composed} % right"))
    for text, style in probe_words(results):
        if style:  # a warning, or why it was not scored
            console.print(Text(text, style))
    for line in coverage_lines(results):
        console.print(Text(line))
    for line in account_lines(results):
        console.print(Text(line))
    console.print(Text(LEGEND))
    console.print(Text(_rest(results)))


def coverage_lines(results: dict) -> list[str]:
    """What the intervals hold, and where they do not: the first sentences."""
    found = results.get("coverage")
    if not found:
        return []
    few = [line for line in found["sentences"] if line.startswith(("Intervals of the reward hold", "Coverage", "Exch"))]
    return ["", *few]


def _lines(view: dict) -> Iterator[tuple[str, str]]:
    simulated = view["label"] == "semi-synthetic"
    sizes = f"{view['comparisons']['test']} held-out comparisons of {view['prompts']['test']} prompts"
    told = "; simulated judges, nothing here measures a real one" if simulated else ""
    name = f"\n{printable(view['name'])} ({printable(view['label'])}): {sizes}{told}"
    yield name, "bold yellow" if simulated else "bold"
    premise = view["premise"]
    r = f"r(entropy, accuracy) = {fixed(premise['r'], 2, sign=True)}"
    yield f"Premise of ENCORE: {printable(premise['verdict'])}; {r}", ""
    if found := view.get("agreement"):
        effective = found.get("effective_rules")
        worth = f"; together they say as much as {fixed(effective, 1)} independent rules" if effective else ""
        why = found["refused"] or f"{found['verdict']}{worth}"
        yield f"Reliability: {printable(why)}", ""
    if view["warnings"]:
        yield f"Warnings about these data: {len(view['warnings'])}, in the report", "red"


def _cells(view: dict) -> Iterator[dict[str, str]]:
    """At most seven rows: ENCORE, equal weights, the model's own, and the best of each other kind."""
    for method in headline(view):
        gain = method["minus_uniform"]
        reference = method["name"] == REFERENCE
        yield {
            "method": oracle_name(method),
            "what": method["role"],
            "accuracy": f"{percent(method['accuracy']['value'])} {bounds(method['accuracy'])}",
            "vs uniform": "reference" if reference else f"{points(gain['value'])} {bounds(gain, points)}",
        }


def _rest(results: dict) -> str:
    """What the terminal leaves out, and where it is."""
    methods = sum(len(view["methods"]) for view in results["views"])
    rules = sum(len(view["rules"]) for view in results["views"])
    return (
        f"All {methods} methods and {rules} rules of {len(results['views'])} views, methods side by side, warnings and "
        "figures: report.html, and every row in report/tables.csv."
    )
