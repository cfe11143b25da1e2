"""Puts what a run printed, and its main figures, into README.md and the pages of docs/,
so that no number there is typed by hand.

python -m experiments.published runs/quickstart           tables and figures of a run
python -m experiments.published runs/bt_smollm2           losses and held-out agreement of a preference run
python -m experiments.published runs/ramo_smollm2         the main arms of a RAMO run
python -m experiments.published runs/joint_smollm2        every arm of a joint training, in and out of distribution
python -m experiments.published runs/judge_agreement      a judge beside people, rule by rule
python -m experiments.published runs/real_judges          which rules of real judges can be trusted
python -m experiments.published runs/aot                  the table of `make aot`
python -m experiments.published runs/hardware             the smallest slices, of `python -m experiments.aot_hardware`
python -m experiments.published runs/gpu                  one GPU beside TRL; `make bench-gpu` measures and does it
make bench-forward | python -m experiments.published -    the lines of a benchmark (bench-train, bench-judge as well,
                                                          and judge_throughput --llama-server)

A page has a place for each: the lines between <!-- NAME: begin --> and <!-- NAME: end -->.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.joint import METHODS
from encore_jax.json_shape import decode_json, read_bytes, read_json
from encore_jax.report.figures import scatter
from encore_jax.report.joint_tables import ACCURACY_HEAD, ERROR_HEAD, accuracy_cells, error_cells, loss_words
from encore_jax.report.ramo_tables import (
    ARM_HEAD,
    CHOOSER_HEAD,
    LABEL_HEAD,
    arm_cells,
    chooser_cells,
    label_cells,
    number,
    theory_words,
)
from encore_jax.report.summary import print_summary
from encore_jax.report.svg import style
from encore_jax.report.text_tables import markdown, preference_table
from experiments.benchmarks.llama_side import KINDS
from experiments.studies.real_judges_page import scatters
from experiments.studies.real_judges_tables import footnotes, main_tables

PAGES = {
    "quickstart output": "docs/results.md",
    "real run": "docs/results.md",
    "real judges": "docs/results-real-judges.md",
    "ramo run": "docs/results-ramo.md",
    "joint run": "docs/joint.md",
    "joint arms": "README.md",
    "judge agreement": "docs/results-judge.md",
    "aot": "docs/training.md",
    "hardware": "docs/training.md",
    "train throughput": "docs/benchmarks.md",
    "train share": "docs/benchmarks.md",
    "train parts": "docs/benchmarks.md",
    "judge throughput": "docs/benchmarks.md",
    "forward throughput": "docs/benchmarks.md",
    "llama throughput": "docs/benchmarks.md",
    "gpu": "docs/benchmarks.md",
}
"""The page on which every section stands."""
DOCS = Path("docs")


def run_section(results: dict, images: Path) -> str:
    """Markdown: where the numbers come from, what the terminal shows, and entropy against accuracy as figures."""
    page = io.StringIO()
    print_summary(results, page)
    figures = []
    for view in results["views"][:2]:
        with style():
            figure = scatter(view)
            figure.set_facecolor("white")
            path = images / f"{results['name']}-{view['name']}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None})
        figures.append(f"![Entropy and accuracy of every rule, {view['label']}]({path.relative_to(DOCS).as_posix()})")
    versions, passport = results["versions"], results["passport"]
    origin = (
        f"Backbone {passport['model']}, {passport['dtype']}, seed {results['seeds']['seed']}; jax {versions['jax']}, "
        f"Python {versions['python']}, {results['device']}. Entropy against accuracy, human-rated and semi-synthetic:"
    )
    return "\n".join([origin, "", *figures, "", "```text", page.getvalue().strip(), "```"])


def preference_section(results: dict) -> str:
    """Markdown: what a preference run trained on, its losses, its agreement with people."""
    training, held_out = results["counts"]["train"]["training"], results["held_out"]
    losses = [line["loss"] for line in results["metrics"] if "loss" in line]
    tenth = max(1, len(losses) // 10)
    first, last = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    watched = [line for line in results["metrics"] if "held_out_loss" in line]
    sizes = results["counts"]["train"]
    head = (
        f"{sizes['comparisons_for_training']} comparisons for training, {training['steps']} steps, packing efficiency "
        f"{training['packing_efficiency']:.3f}; jax {results['versions']['jax']}, {results['device']}. Training loss "
        f"{first:.3f} over the first {tenth} steps, {last:.3f} over the last {tenth}; on watched held-out comparisons "
        f"{watched[0]['held_out_loss']:.3f} after {watched[0]['step']} steps, {watched[-1]['held_out_loss']:.3f} after "
        f"{watched[-1]['step']}. Agreement with people on {held_out['comparisons']} held-out comparisons of "
        f"{held_out['prompts']} prompts:"
    )
    return f"{head}\n\n{preference_table(held_out)}"


def judges_section(results: dict, images: Path) -> str:
    """Markdown: machine and data, entropy and loading against accuracy as a figure, and the main tables."""
    path = images / "real-judges.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    with style(), atomic_path(path) as temporary:
        figure = scatters(results["studies"])
        figure.set_facecolor("white")
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    versions, seed = results["versions"], results["config"]["seed"]
    origin = (
        f"Ratings by LLMs, *model-rated*, against people's choices and objective labels; seed {seed}; "
        f"jax {versions['jax']}, Python {versions['python']}, {results['device']}."
    )
    image = f"![Entropy and accuracy, and loading and accuracy, of every rule]({path.relative_to(DOCS).as_posix()})"
    tables = [f"{caption}:\n\n{table}" for caption, table in main_tables(results)]
    return "\n\n".join([origin, image, *tables, "  \n".join(line.replace("*", "\\*") for line in footnotes(results))])


def ramo_section(results: dict) -> str:
    """Markdown: the adapter beside its floors, and every arm at the run's own r and with all training comparisons."""
    adapter, arms, r = results["adapter"], results["arms"], results["adapter"]["r"]
    main = [row for row in arms["rows"] if row["r"] in (0, r) and row["size"] == 0]
    counts, versions = results["counts"], results["versions"]
    origin = (
        f"Labelled *{results['rate']['label']}*: {results['rate']['description']} "
        f"{counts['label']['comparisons_labelled']} comparisons for the reward models, {adapter['n']} held out for the "
        f"adapter, r = {r} of {adapter['k']} rules; jax {versions['jax']}, {results['device']}."
    )
    tables = [
        markdown(CHOOSER_HEAD, chooser_cells(adapter)),
        markdown(LABEL_HEAD, label_cells([row for row in results["labels"] if row["r"] in (0, r)])),
        markdown(ARM_HEAD, arm_cells(main)),
    ]
    simulated = theory_words(results["simulation"]["verdicts"])
    return "\n\n".join([origin, *tables, f"Simulation: the argument for the largest discrepancies {simulated}."])


def joint_section(results: dict) -> str:
    """Markdown: model, data and machine, then every arm's rewards and rule heads in and out of distribution."""
    counts, train, passport = results["counts"]["train"], results["config"]["train"], results["passport"]
    trained = [
        f"{name}: {of['comparisons_with_ratings']} comparisons with ratings, {of['comparisons_without_ratings']} "
        f"without, {of['rated_responses_without_preference']} rated responses without a preference"
        for name, of in counts["training"].items()
    ]
    steps = {of[arm]["steps"] for of in counts["training"].values() for arm in train["arms"]}
    origin = (
        f"Trained on {'; '.join(trained)}. Backbone {passport['model']}, {passport['dtype']}, {train['trainable']}, "
        f"λ = {train['rating_weight']:g}, {' or '.join(map(str, sorted(steps)))} steps of {train['rows']} rows of "
        f"{train['length']} tokens, peak rate {train['lr']:g}, seed {results['config']['seed']}; "
        f"{len(results['rules'])} rules; {counts['comparisons_held_out']} held-out comparisons, "
        f"{counts['comparisons_dropped_too_long']} comparisons left out as too long; jax {results['versions']['jax']}, "
        f"{results['device']}. Training loss by model: {loss_words(results)}."
    )
    tables = [markdown(ACCURACY_HEAD, accuracy_cells(results)), markdown(ERROR_HEAD, error_cells(results))]
    return "\n\n".join([origin, *tables, first_line(results)])


def joint_arms_section(results: dict) -> str:
    """Markdown for README.md: the usual reward of every arm on every domain."""
    rows = [row for row in results["accuracy"] if row["method"] == METHODS[row["arm"]][0]]
    trained = sorted({row["trained_on"] for row in rows})
    domains = sorted({row["tested_on"] for row in rows}, key=lambda name: (name not in trained, name))

    def cells():
        for domain in trained:
            for arm in results["config"]["train"]["arms"]:
                of = [row for row in rows if (row["trained_on"], row["arm"]) == (domain, arm)]
                by_domain = {row["tested_on"]: number(row["accuracy"]) for row in of}
                yield [domain, of[0]["words"], of[0]["method"], *(by_domain.get(name, "") for name in domains)]

    sizes = {row["tested_on"]: row["n"] for row in rows}
    return markdown(("trained on", "arm", "reward", *(f"{name} (n = {sizes[name]})" for name in domains)), cells())


def replaced(text: str, name: str, content: str, page: str = "the page") -> str:
    """The text with what lies between the named begin and end comments replaced.

    >>> replaced("<!-- x: begin -->old<!-- x: end -->", "x", "new")
    '<!-- x: begin -->\\nnew\\n<!-- x: end -->'
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise InputError(f"has no markers {begin} and {end}", where=page, fix="put them where the section goes")
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{content}\n{end}", text, flags=re.S)


FIX = "name the folder of a run, or - for a benchmark's lines on standard input"


def main(argument: str) -> None:
    """Replaces one section of a page.

    Raises:
      InputError: nothing there, or nothing that a page has a place for.
    """
    sections = [_lines(sys.stdin.read())] if argument == "-" else list(_sections(Path(argument)))
    for name, content in sections:
        page = Path(PAGES[name])
        with output_lock(page), atomic_path(page) as temporary:
            before = read_bytes(page, fix="run this in the checkout").decode()
            temporary.write_text(replaced(before, name, content, str(page)), encoding="utf-8")


def _lines(text: str) -> tuple[str, str]:
    """Name and content of the section that a benchmark's output belongs to."""
    lines = [line.rstrip() for line in text.splitlines() if line.startswith(("float32", "bfloat16", "safety_", "{"))]
    if not lines:
        raise InputError("holds no benchmark's lines", where="standard input", fix="make bench-forward | ... -")
    told = decode_json(lines[-1], dict[str, object], where="standard input", fix="pipe a benchmark's output here")
    if "train_parts" in told:
        return "train parts", "\n".join(line for line in text.splitlines() if line.startswith("|"))
    names = {"packing_efficiency": "train throughput", "safety_100": "judge throughput"}
    name = next((name for key, name in names.items() if key in told), "forward throughput")
    if name == "train throughput" and not any(isinstance(of, dict) and "ratio" in of for of in told.values()):
        name = "train share"
    if any(isinstance(of, dict) and of and of.keys() <= set(KINDS) for of in told.values()):  # by pool, then kind
        name = "llama throughput"
    return name, "\n".join(["```text", *lines, "```"])


def _sections(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and contents of the sections that a run's folder belongs to."""
    files = {"table.md": "aot", "hardware.md": "hardware", "agreement.md": "judge agreement", "gpu.md": "gpu"}
    for file, name in files.items():
        if (folder / file).exists():
            yield name, read_bytes(folder / file, fix=FIX).decode().strip()
            return
    path = folder / "results.json"
    results = read_json(path, dict[str, object], fix=FIX, max_bytes=1 << 30)
    try:
        if "held_out" in results:
            yield "real run", preference_section(results)
        elif results.get("kind") == "joint":
            yield from (("joint run", joint_section(results)), ("joint arms", joint_arms_section(results)))
        elif "studies" in results:
            yield "real judges", judges_section(results, DOCS / "images")
        elif "arms" in results:
            yield "ramo run", ramo_section(results)
        else:
            yield "quickstart output", run_section(results, DOCS / "images")
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        problem = f"is not a run's results: {type(error).__name__} {error}"
        raise InputError(problem, where=str(path), fix=FIX) from None


if __name__ == "__main__":
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help=FIX)
    with one_line_errors():
        main(parser.parse_args().source)
