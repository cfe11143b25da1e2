"""Commands that README and docs show: found in the texts, and carried out in a folder with tiny files of their names.

Run as a program, in an empty folder: ``python -m tests.shown_commands``. Prints one JSON object: by command, exit
status and the end of the output. Forks after the imports that all commands share.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = r"encore|python3? -m|make|pip|curl|tpu_scripts/[\w]+\.sh|\.ci/run"
PLACEHOLDERS = {
    "NAME_OR_FILE": "quickstart", "[NAME_OR_FILE]": "quickstart", "RULES": "rules.yaml", "MODEL": "model",
    "PAIRS": "pairs.jsonl", "RATINGS": "rated.jsonl", "FILE": "pairs.jsonl", "RUN": "runs/quickstart", "FOLDER": ".",
    "DIR": "sets", "MINE": "my-slice.env", "NAME": "quickstart", "OTHER": "quickstart",
    "ISOLATED": "runs/isolated", "TOGETHER": "runs/together",
}  # fmt: skip
"""Words in capitals that stand for a user's own, and what stands for them here."""
DATA = ["--config.data.path=pairs.jsonl"]
JUDGE = ["--config.judge.model=judge", "--config.judge.server.urls=http://127.0.0.1:1"]
MORE = {
    "encore run encore_hh": DATA,
    "encore run ramo_smollm2": [*DATA, "--config.data.ratings_path=rated.jsonl"],
    "encore run rewardbench": ["--config.model=model", "--config.data=pairs.jsonl"],
    "encore rate PAIRS": JUDGE,
    "encore run rate_server --config.data.path=PAIRS": JUDGE,
}
"""What a command needs that a sentence mentions in short."""


THERE = (
    "filtered.parquet", "model/config.json", "runs/quickstart/compose/.kept", "runs/adapter/predictions.npz",
    "runs/rate_pairs/rate/verdicts.jsonl", "ratings.jsonl", "judges.json",
    "sets/ratings.jsonl", "sets/judges.json",
)  # fmt: skip
"""What commands look for; files that others make are empty here."""


def shown_commands() -> dict[str, list[str]]:
    """Every command, on one line, and the pages that show it: of shell blocks, and of code between backticks."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", text, re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        inline = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines += [code for code in inline if re.match(rf"({PROGRAMS})( |$)", code)]
        for line in lines:
            line = " ".join(line.split())
            for command in [line] if line.startswith("curl") else line.split(" && "):
                if command and not command.startswith("#"):
                    found.setdefault(command, []).append(page.name)
    return found


def words_of(command: str) -> list[str]:
    """A command's words, without comments and dots, with a file or a name for every placeholder."""
    words = [word for word in shlex.split(command, comments=True) if word != "..."]
    filled = []
    for word in words:
        name, equals, value = word.partition("=")
        if value == "..." and name == "--config":
            value = "NAME"
        if value == "..." or value in PLACEHOLDERS:
            word = f"{name}{equals}{PLACEHOLDERS.get(value, 'runs/quickstart')}"
        filled.append(PLACEHOLDERS.get(word, word))
    return filled


def carried_out(command: str) -> tuple[str, list[str]] | None:
    """The module and the arguments by which a command is executed here; None for what is no command of Python."""
    from encore_jax.cli.main import COMMANDS, RUN, expanded

    words = words_of(command)
    if words[0] == "encore":
        if len(words) == 1 or words[1] not in COMMANDS:
            return "encore_jax.cli.main", words[1:] or ["--help"]
        module, arguments = COMMANDS[words[1]].module, expanded(COMMANDS[words[1]], words[2:])
        bare = len(words) == 2 and words[1] not in ("quickstart", "doctor", "theory")
    elif words[:2] == ["python", "-m"] and words[2] != "venv":
        module, arguments, bare = words[2], words[3:], len(words) == 3
    else:
        return None
    if bare or module.startswith("experiments.benchmarks") or module == "experiments.published":
        return module, ["--help"]
    if module in (RUN, "experiments.run"):
        known = [word for word in arguments if not word.startswith(("--aot", "--multihost"))]
        if (len(known) < len(arguments) or "..." in command) and "data.path" not in command:
            known += DATA  # --aot needs none, and dots stand for it
        arguments = [*known, *MORE.get(command, ())]
    if module in (RUN, "experiments.run", "encore_jax.cli.ablate", "encore_jax.cli.theory"):
        return module, [*arguments, "--dry_run"]
    if module == "encore_jax.cli.reliability" and any(word.startswith("--out") for word in arguments):
        arguments = [*arguments, "--overwrite"]
    return module, [*arguments, "--dry-run"] if module == "encore_jax.cli.sweep" else arguments


def write_files(folder: Path) -> None:
    """What the commands name: comparisons, ratings, rules, a finished run's scores."""
    from encore_jax.data.digest import file_sha256
    from tests.evaluation import views

    grades = [[5, 1, 4], [2, 3, 5], [4, 4, 1], [1, 2, 2]]
    lines = ["prompt,response,kind,true,safe"]
    lines += [
        f"Question {i},Answer {j},{','.join(map(str, grades[(i + 2 * j) % 4]))}" for i in range(30) for j in (0, 1)
    ]
    (folder / "ratings.csv").write_text("\n".join(lines))
    pairs = [{"prompt": f"Question {i}", "chosen": f"Answer 0 to {i}", "rejected": "Answer 1"} for i in range(30)]
    for name in ("pairs", "hh-rlhf", "diasafety", "coconot", "comparisons"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    rules = [{"name": name, "text": f"It is {name}."} for name in ("kind", "true", "safe")]
    for name in ("rules.yaml", "kitchen.yaml", "runs/rate_server/rate/pool.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"name": "mine", "rules": rules}))  # YAML as well
    names = [rule["name"] for rule in rules]
    rated = [{"prompt": f"Question {i}", "responses": ["A", f"B {i}"], "preferred": i % 2,
              "ratings": {name: [grades[i % 4][k] / 5, grades[(i + k) % 4][k] / 5] for k, name in enumerate(names)}}
             for i in range(30)]  # fmt: skip
    (folder / "runs/rate_server/rate/comparisons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rated))
    responses = [{"prompt": row["prompt"], "response": text, "ratings": {n: row["ratings"][n][j] for n in names}}
                 for row in rated for j, text in enumerate(row["responses"])]  # fmt: skip
    (folder / "runs/rate_server/rate/rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in responses))
    outputs = {path.name: file_sha256(path) for path in (folder / "runs/rate_server/rate").iterdir()}
    manifest = {"inputs": {}, "outputs": outputs, "seconds": 0.0, "versions": {}}
    (folder / "runs/rate_server/rate/manifest.json").write_text(json.dumps(manifest))
    shutil.copy(folder / "runs/rate_server/rate/rated.jsonl", folder / "rated.jsonl")
    for name in ("judged", "isolated", "together", "reversed", "rated"):
        shutil.copytree(folder / "runs/rate_server", folder / "runs" / name)
    rules_reversed = json.dumps({"name": "mine", "rules": rules[::-1]})
    (folder / "runs/reversed/rate/pool.yaml").write_text(rules_reversed)
    manifest["outputs"] |= {"pool.yaml": file_sha256(folder / "runs/reversed/rate/pool.yaml")}
    (folder / "runs/reversed/rate/manifest.json").write_text(json.dumps(manifest))
    (folder / "runs/quickstart/score").mkdir(parents=True)
    (folder / "runs/quickstart/.encore_jax.json").write_text('{"kind": "encore"}')
    views.view(train=20, test=20).save(folder / "runs/quickstart/score/view-heads.npz")
    shutil.copytree(folder / "runs/quickstart/score", folder / "runs/encore_hh/score")
    for name in THERE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    for name, kind in (("encore_hh", "encore"), ("rate_pairs", "verdicts")):
        (folder / "runs" / name / ".encore_jax.json").write_text(json.dumps({"kind": kind}))
    (folder / "experiments").symlink_to(ROOT / "experiments")


def import_what_commands_share() -> None:
    """Once, before the forks."""
    for package in ("recipes", "report", "evaluation", "reward"):
        folder = importlib.import_module(f"encore_jax.{package}").__path__
        for module in pkgutil.walk_packages(folder, f"encore_jax.{package}."):
            if ".configs" not in module.name:
                importlib.import_module(module.name)
    for name in ("ablate", "reliability", "halo", "sweep", "idle_settings", "select_pool", "config"):
        importlib.import_module(f"encore_jax.cli.{name}")


def main() -> None:
    """Carries out every command."""
    import_what_commands_share()
    from encore_jax.recipes import plan
    from encore_jax.recipes import run as recipes_run
    from tests.experiments.help_of_all import run

    told, done_before = {}, {}
    plan.Plan.read_sources = lambda *_: None  # of a dry run, which would read files that are not what they are called
    recipes_run.check_installed = lambda *_: None  # trackers, which the tests' environment does not have
    write_files(Path.cwd())
    for command in shown_commands():
        words = words_of(command)
        if words[0] == "make":
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
            told[command] = {"status": done.returncode, "output": (done.stdout + done.stderr)[-2000:]}
        elif (how := carried_out(command)) is not None:
            key = json.dumps(how)
            if key not in done_before:
                done = run(*how)
                done_before[key] = {"status": done["status"], "output": done["output"][-2000:]}
            told[command] = done_before[key]
    print(json.dumps(told))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
