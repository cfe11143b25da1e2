"""A panel's reliability as tables and as text: what to use first, then judges, then rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from encore_jax.evaluation.label_next import LabelPlace
from encore_jax.evaluation.panel import PanelReliability
from encore_jax.evaluation.panel_results import panel_results
from encore_jax.formats import bounds, fixed, percent, points, printable
from encore_jax.report.label_next import label_lines, of_run
from encore_jax.report.text_tables import markdown

MOST_RULES = 20
"""Rules of a table on the terminal; the page has all."""
MOST_JUDGES = 6
"""Judges whose loadings are beside the rules on the terminal; the page has all."""
POINTWISE = "Each response was rated on its own: position plays no part, and no table is about it."
PER_RULE = "reliability of the mean: Spearman-Brown over the judges"


def judge_table(results: Mapping) -> tuple[list[str], list[list[str]]]:
    """Head and rows: whether each judge follows the others, and what the panel is without it."""
    labelled = any(line["labels"] for line in results["judges"])
    head = ["judge", "missing, %", "loading", "its mean's loading", "r with the rest", "without it: r"]
    head += ["labels", "accuracy, %", "without it: points"] if labelled else []
    rows = []
    for line in results["judges"]:
        row = [printable(line["judge"]), percent(line["missing"]), fixed(line["loading"], sign=True)]
        row += [fixed(line["own_loading"], sign=True), _signed(line["rest"]), fixed(line["kept"], 3)]
        if labelled:
            row += [f"{line['labels']}", f"{percent(line['accuracy']['value'])} {bounds(line['accuracy'])}"]
            row += [f"{points(line['without']['value'])} {bounds(line['without'], points)}"]
        rows.append(row)
    return head, rows


def _signed(interval: Mapping) -> str:
    return f"{fixed(interval['value'], sign=True)} {bounds(interval, lambda x: fixed(x, sign=True))}"


def rule_table(results: Mapping, judges: int = MOST_JUDGES) -> tuple[list[str], list[list[str]]]:
    """Head and rows: how alike judges are on each rule, and each judge's loading on it unless there are too many."""
    names = [printable(line["judge"]) for line in results["judges"]]
    shown = names if len(names) <= judges else []
    head = ["rule", "r of two judges", "reliability of the mean", *(f"loading: {name}" for name in shown)]
    rows = []
    for k, line in enumerate(results["rules"]):
        row = [printable(line["rule"]), _signed(line["correlation"]), fixed(line["reliability"])]
        row += [fixed(loadings[k]["value"], sign=True) for loadings in results["loadings"]] if shown else []
        rows.append(row)
    return head, rows


def loading_table(results: Mapping) -> tuple[list[str], list[list[str]]]:
    """Head and rows: every judge's loading on every rule, with its interval."""
    head = ["rule", *(printable(line["judge"]) for line in results["judges"])]
    rules = [printable(line["rule"]) for line in results["rules"]]
    rows = [[rule, *(_signed(row[k]) for row in results["loadings"])] for k, rule in enumerate(rules)]
    return head, rows


def repetition_table(results: Mapping) -> tuple[list[str], list[list[str]]]:
    """Head and rows: how much of a judge's ratings is chance, over all rules and rule by rule."""
    head = ["judge", "draws", "rule", "chance, % of the variance", "ICC of one draw", "ICC of the mean"]
    rows = []
    for line in results["repetitions"]:
        rows.append([printable(line["judge"]), str(line["draws"]), "all", percent(line["share"]), "", ""])
        for rule in line["rules"]:
            numbers = [percent(rule["share"]), fixed(rule["icc"]), fixed(rule["icc_mean"])]
            rows.append([printable(line["judge"]), str(line["draws"]), printable(rule["rule"]), *numbers])
    return head, rows


def position_table(results: Mapping) -> tuple[list[str], list[list[str]]]:
    """Head and rows: what the order of a pair does to a judge's verdicts."""
    head = ["judge", "pairs", "shown first wins, %", "same in both orders, %", "order, % of the variance"]
    rows = []
    for line in results["positions"]:
        first = f"{percent(line['first'])} {bounds(line)}"
        rows.append([printable(line["judge"]), str(line["n"]), first, percent(line["same"]), percent(line["share"])])
    return head, rows


def panel_text(found: PanelReliability) -> str:
    """All of it as plain text (Markdown tables), on one screen."""
    return "\n".join(panel_lines(panel_results(found)))


def panel_lines(results: Mapping, run: Mapping | None = None, workdir: str = "RUN") -> Iterator[str]:
    """The same from JSON values; of a run, with its results and its work directory."""
    yield printable(results["recommendation"])
    yield from map(printable, results.get("twins", ()))
    yield ""
    yield markdown(*judge_table(results))
    yield ""
    head, rows = rule_table(results)
    yield markdown(head, rows[:MOST_RULES])
    if len(rows) > MOST_RULES:
        yield f"and {len(rows) - MOST_RULES} more rules"
    yield ""
    yield f"The panel's reward: {results['weighting']} weights over judge x rule; {common_words(results)}."
    for line in results["repetitions"]:
        share = percent(line["share"])
        yield f"{printable(line['judge'])}: {share} % of the variance of one draw is chance ({line['draws']} draws)."
    if results["positions"]:
        yield ""
        yield markdown(*position_table(results))
    else:
        yield POINTWISE
    yield from label_lines(*to_label(results, run, workdir))


def to_label(results: Mapping, run: Mapping | None = None, workdir: str = "RUN") -> tuple:
    """What `label_lines` and `label_context` take."""
    if run is not None:
        return of_run(results["label_next"], run | results, workdir)
    return [str(number) for number in results["label_next"]], [], LabelPlace()


def common_words(results: Mapping) -> str:
    """What the columns have in common, in words."""
    return {"the pool splits": "the panel splits"}.get(results["verdict"], results["verdict"])


def table_cells(table: tuple[Sequence[str], Sequence[Sequence[str]]]) -> dict:
    """A table as the page takes it."""
    head, rows = table
    return {"head": list(head), "rows": [list(row) for row in rows]}
