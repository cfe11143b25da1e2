"""Puts what a run printed, and its main figures, into README.md, so that no number there is typed by hand.

python -m experiments.readme runs/quickstart           tables and figures of a run
python -m experiments.readme runs/bt_smollm2           losses and held-out agreement of a preference run
python -m experiments.readme runs/ramo_smollm2         the main arms of a RAMO run
python -m experiments.readme runs/judge_agreement      a judge beside people, rule by rule
python -m experiments.readme runs/aot                  the table of `make aot`
make bench-forward | python -m experiments.readme -    the lines of a benchmark (bench-train, bench-judge as well)
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.evaluate.figures import scatter
from encore_jax.evaluate.preference import preference_table
from encore_jax.evaluate.ramo_tables import (
    ARM_HEAD,
    CHOOSER_HEAD,
    LABEL_HEAD,
    arm_cells,
    chooser_cells,
    label_cells,
    markdown,
    theory_words,
)
from encore_jax.evaluate.svg import style
from encore_jax.evaluate.tables import print_tables

README, IMAGES = Path("README.md"), Path("docs/images")


def run_section(results: dict, images: Path) -> str:
    """Markdown: where the numbers come from, the tables of every view, and entropy against accuracy as figures."""
    page = io.StringIO()
    print_tables(results, page)
    figures = []
    for view in results["views"][:2]:
        with style():
            figure = scatter(view)
            figure.set_facecolor("white")
            path = images / f"{results['name']}-{view['name']}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None})
        figures.append(f"![Entropy and accuracy of every rule, {view['label']}]({path.as_posix()})")
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


def replaced(text: str, name: str, content: str) -> str:
    """The text with what lies between the named begin and end comments replaced.

    >>> replaced("<!-- x: begin -->old<!-- x: end -->", "x", "new")
    '<!-- x: begin -->\\nnew\\n<!-- x: end -->'
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"README.md has no markers {begin} and {end}")
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{content}\n{end}", text, flags=re.S)


def main(argument: str) -> None:
    if argument == "-":
        lines = [line.rstrip() for line in sys.stdin if line.startswith(("float32", "bfloat16", "safety_", "{"))]
        told = json.loads(lines[-1])
        names = {"packing_efficiency": "train throughput", "safety_100": "judge throughput"}
        name = next((name for key, name in names.items() if key in told), "forward throughput")
        content = "\n".join(["```text", *lines, "```"])
    elif (Path(argument) / "table.md").exists():
        name, content = "aot", (Path(argument) / "table.md").read_text().strip()
    elif (Path(argument) / "agreement.md").exists():
        name, content = "judge agreement", (Path(argument) / "agreement.md").read_text().strip()
    elif "held_out" in json.loads((Path(argument) / "results.json").read_text(encoding="utf-8")):
        results = json.loads((Path(argument) / "results.json").read_text(encoding="utf-8"))
        name, content = "real run", preference_section(results)
    elif "arms" in json.loads((Path(argument) / "results.json").read_text(encoding="utf-8")):
        results = json.loads((Path(argument) / "results.json").read_text(encoding="utf-8"))
        name, content = "ramo run", ramo_section(results)
    else:
        results = json.loads((Path(argument) / "results.json").read_text(encoding="utf-8"))
        name, content = "quickstart output", run_section(results, IMAGES)
    with atomic_path(README) as temporary:
        temporary.write_text(replaced(README.read_text(encoding="utf-8"), name, content), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
