"""Sweeps whose runs are stand-ins."""

import csv
import json
from pathlib import Path

from encore_jax.cli import grid
from encore_jax.cli.sweep import plan, sweep
from encore_jax.cli.sweep_runs import command_of, launched
from encore_jax.recipes.configs import quickstart

REPOSITORY = Path(__file__).resolve().parents[2]
QUICKSTART = str(REPOSITORY / "encore_jax" / "recipes" / "configs" / "quickstart.py")

# A stand-in for the interpreter: notes its arguments, begin and end, and behaves as the file named like the cell says.
STUB = """#!/usr/bin/env bash
for argument in "$@"; do
  case $argument in
    --workdir=*) work=${argument#*=} ;;
    --config.seed=*) seed=${argument#*=} ;;
  esac
done
here=$(dirname "$0")
printf 'begin %s\\n' "$(basename "$work")" >>"$here/journal"
printf '%s\\0' "$@" >>"$here/arguments"
trap 'kill $!; echo saved; exit 75' TERM
code=0
[[ ! -e "$here/$(basename "$work")" ]] || code=$(<"$here/$(basename "$work")")
if [[ $code == wait ]]; then sleep 30 & wait; fi
sleep 0.1 & wait
echo "this is $work"
interval='{"value": 0.'$((5 + ${seed:-0}))', "low": 0.25, "high": 0.95}'
echo '{"views": [{"name": "heads", "label": "human-rated", "methods": [
  {"name": "ENCORE", "n": 10, "accuracy": '$interval', "minus_uniform": {"value": -0.01, "low": -0.02, "high": null}},
  {"name": "uniform", "accuracy": '$interval'}]}], "counts": {"noise 0.5": 7, "none": null}}' >"$work/results.json"
printf 'end %s\\n' "$(basename "$work")" >>"$here/journal"
exit "$code"
"""


class Sweep:
    """A sweep of the quickstart's configuration whose runs are stand-ins."""

    def __init__(self, folder: Path):
        self.folder, self.stub = folder / "my sweep", folder / "stub"
        self.stub.mkdir()
        self.python = str(self.stub / "python")
        Path(self.python).write_text(STUB)
        Path(self.python).chmod(0o755)

    def behaves(self, cell: str, code: object) -> None:
        (self.stub / cell).write_text(str(code))

    def run(self, text: str, *, columns=None, launch=None, slices=(), again=False, reuse=None, **fixed: str) -> int:
        cells = plan(QUICKSTART, quickstart.get_config(), fixed, grid.parse_grid(text))

        def command(cell, place):
            if launch is None:
                return command_of(cell, self.folder, self.python)
            return launched(launch, cell, self.folder, self.python, place)

        return sweep(self.folder, QUICKSTART, cells, columns, command, slices or [""], again, reuse=reuse)

    def journal(self) -> list[str]:
        file = self.stub / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def begun(self) -> list[str]:
        return [line.removeprefix("begin ") for line in self.journal() if line.startswith("begin ")]

    def statuses(self) -> dict[str, str]:
        cells = json.loads((self.folder / "sweep.json").read_text())["cells"]
        return {name: known["status"] for name, known in cells.items()}

    def table(self) -> list[dict[str, str]]:
        with open(self.folder / "table.csv", newline="") as file:
            return list(csv.DictReader(file))
