"""A benchmark's results as a page and as a Markdown table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from encore_jax.evaluation.coverage import Coverage
from encore_jax.evaluation.first_line import first_line
from encore_jax.formats import bounds, count, known, percent, points, printable
from encore_jax.report import coverage_page
from encore_jax.report.page import render
from encore_jax.report.report_page import coverage_context
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import markdown

MOST_EXPLAINED = 20
"""Differences from a peer that the terminal explains; results.json and the page have all."""

PAIRS = "Accuracy: over right responses against wrong ones, a tie one half; no method looks at which is right."
"""What the rows of methods are measured by; scores above are the benchmark's own."""


def render_benchmark(results: dict) -> str:
    """The page of one `results.json`."""
    probed = over_refusal_lines(results, by_rule=True)
    coverage = coverage_context(results)
    return render("benchmark.html", results=results, pairs=PAIRS, probe_lines=probed, coverage=coverage)


def benchmark_table(results: dict) -> str:
    """Scores, subsets, what is missing, and what a peer would have made of it, as Markdown."""
    return "\n".join(_lines(results))


def _lines(results: dict) -> Iterator[str]:
    peer = results["peer"]
    yield f"{first_line(results)}\n"
    config = results["config"]
    yield (
        f"{printable(results['name'])}: {results['benchmark']}, {results['n']:,} comparison{'s' * (results['n'] != 1)} "
        f"of {printable(config['data'])}, {results['ties']:,} tie{'s' * (results['ties'] != 1)}"
    )
    yield f"Model: {printable(config['model'])}, on {printable(results['passport']['model'])}"
    named = f" {peer['name']}, % |" if peer else ""
    yield f"\n| | score, % [95 %] | n | correct | ties |{named}"
    yield "|---|---|---|---|---|" + ("---|" if peer else "")
    for name, entry in results["scores"].items():
        theirs = f" **{percent(peer['scores'].get(name, {}).get('score'))}** |" if peer else ""
        yield f"| **{printable(name)}** | **{_score(entry)}** | | | |{theirs}"
    for name, entry in results["subsets"].items():
        theirs = f" {percent(peer['subsets'].get(name, {}).get('score'))} |" if peer else ""
        numbers = f"{entry['n']} | {count(entry['correct'])} | {entry['ties']}"
        yield f"| {printable(name) or 'all'} | {_score(entry)} | {numbers} |{theirs}"
    if results["benchmark"] == "rm_bench":
        yield "\n| domain | easy, % [95 %] | normal | hard |\n|---|---|---|---|"
        for name, entry in results["scores"].items():
            parts = (f"{percent(entry[p])} {bounds(entry['intervals'][p])}" for p in ("easy", "normal", "hard"))
            yield f"| {printable(name)} | {' | '.join(parts)} |"
    yield from _methods(results)
    if results.get("coverage"):  # of an older version there is none
        found = Coverage.from_json(results["coverage"])
        head, *rows = coverage_page.cells(found)
        yield f"\n{markdown(head, rows)}"
        yield from found.sentences()
    dropped = results["counts"]["comparisons_dropped_too_long"]
    yield f"\n{results['counts']['rows']}; {dropped} dropped as too long"
    if refused := results["counts"].get("comparisons_refused"):
        yield f"{refused} comparisons left out; the first, {printable(results['counts']['first_refused'])}"
    if hidden := results["counts"].get("comparisons_hidden"):
        first = printable(results["counts"]["first_hidden"])
        yield f"{hidden} comparisons of which the chat template does not print every message; the first, {first}"
    if results["incomplete"]:
        yield "Not the whole benchmark, so not comparable with published scores:"
        yield from (f"- {line}" for line in results["incomplete"])
    if results["reported"]:
        yield f"Reported Safety: {results['reported']}"
    if lines := over_refusal_lines(results, by_rule=True):
        yield ""
        yield from lines
    if peer:
        yield f"\nBy the conventions of {peer['name']}, {len(peer['differences'])} comparisons come out differently:"
        for one in peer["differences"][:MOST_EXPLAINED]:
            before, after = (count(value) if known(value) else "dropped" for value in one["credit"])
            where = f"{printable(one['id'])} ({printable(one['subset'])})"
            yield f"- {where}: {before} -> {after}; {'; '.join(one['because'])}"


def _methods(results: dict) -> Iterator[str]:
    """A row for every way of weighting the rules."""
    if not results.get("methods"):  # of an older version, or of a single rule
        return
    yield "\n| weights | from | accuracy, % [95 %] | minus the model, points |\n|---|---|---|---|"
    for row in results["methods"]:
        if row["refused"]:
            yield f"| {printable(row['name'])} | {row['sees']} | refused | |"
            continue
        gain = row["minus_model"]
        told = f"{points(gain['value'])} {bounds(gain, points)}" if gain else ""
        accuracy = row["accuracy"]
        yield f"| {row['name']} | {row['sees']} | {percent(accuracy['value'])} {bounds(accuracy)} | {told} |"
    yield PAIRS
    for why in dict.fromkeys(row["refused"] for row in results["methods"] if row["refused"]):
        yield f"Refused: {printable(why)}."


def _score(entry: dict) -> str:
    return f"{percent(entry['score'])} {bounds(entry)}" if known(entry["low"]) else percent(entry["score"])
