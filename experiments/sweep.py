"""Runs an experiment once for every cell of a grid, and puts the results into one table.

    python -m experiments.sweep --config=experiments/configs/quickstart.py --grid='compose.tau=0.5,1,2;seed=0..4'

Further ``--config.FIELD=VALUE`` hold for all cells; in them, {cell} stands for the cell's name. Every cell is a run of
its own, in WORKDIR/CELL, one after another; a failed one is recorded and the sweep goes on. Run again, only what is
not done is run; sweep.json keeps account. The table is written to WORKDIR/table.md, .csv and .json.

With --launch runs happen elsewhere, e.g. on TPU slices, one at a time on each:

    --slices=a,b --launch='ssh {slice} {command}'

The template is split into words as by a shell. {command} is the run's whole command; {arguments}, a word by itself, its
arguments without --workdir; {cell} the cell's name; {workdir} its folder here, where results.json is looked for.

Exit codes: 0 all done, 1 a run failed, 75 a run was preempted (the same command goes on), 2 bad input.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

import encore_jax
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import folder_lock
from encore_jax.errors import InputError
from experiments import grid, sweep_table
from experiments.config import ExperimentConfig, default_workdir, to_dict, validated
from experiments.sweep_runs import LOG, RESULTS, Cell, Runner, State, check_launch, command_of, launched


def plan(
    config: str, base: ExperimentConfig, fixed: Mapping[str, str], axes: Mapping[str, tuple[str, ...]]
) -> list[Cell]:
    """The cells, each with its configuration resolved and validated just as experiments.run will.

    Args:
      config: path of the config file.
      base: what it says.
      fixed: overrides for all cells, as text; {cell} stands for the cell's name.
      axes: the grid.

    Raises:
      InputError: a field or a value that the configuration refuses, or checkpoints that cells would share.
    """
    grid.check_fields(axes, base)
    if both := sorted(axes.keys() & fixed.keys()):
        raise InputError("is both fixed and in the grid", where=f"config.{both[0]}", fix="give it once")
    planned, kept_in = [], {}
    for name, overrides in grid.cells(axes).items():
        merged = {field: value.replace("{cell}", name) for field, value in fixed.items()} | overrides
        resolved = _resolved(base, merged)
        folder = resolved.train.checkpoints if hasattr(resolved, "train") else ""
        if folder and kept_in.setdefault(folder, name) != name:
            fix = f"--config.train.checkpoints={folder.rstrip('/')}/{{cell}}"
            raise InputError("would be shared by all cells", where="config.train.checkpoints", fix=fix)
        arguments = (f"--config={config}", *_flags_of(merged))
        identity = json.dumps(to_dict(resolved), sort_keys=True) + encore_jax.__version__
        planned.append(Cell(name, overrides, arguments, hashlib.sha256(identity.encode()).hexdigest()))
    return planned


def _flags_of(overrides: Mapping[str, str]) -> list[str]:
    return [f"--config.{field}={value}" for field, value in overrides.items()]


def _resolved(base: ExperimentConfig, overrides: Mapping[str, str]) -> ExperimentConfig:
    arguments, values = ["sweep", *_flags_of(overrides)], flags.FlagValues()
    config_flags.DEFINE_config_dataclass("config", copy.deepcopy(base), flag_values=values, sys_argv=arguments)
    try:
        values(arguments)
        return validated(values.config)
    except (flags.Error, AttributeError, TypeError) as error:
        shown = ", ".join(f"{field}={value}" for field, value in overrides.items())
        raise InputError(str(error), where=f"cell {shown}", fix="give values of the field's type") from error


def write_table(folder: Path, cells: Sequence[Cell], state: State, columns: Sequence[str] | None) -> str:
    """Writes table.md, table.csv and table.json of what is done so far; returns the first.

    Raises:
      InputError: a column that no finished run has.
    """
    rows, results = [], {}
    for cell in cells:
        path, status = folder / cell.name / RESULTS, state.status(cell)
        if state.is_done(cell) and path.exists():
            results[cell.name] = json.loads(path.read_text(encoding="utf-8"))
        elif status == "done":
            status = f"done, no {RESULTS} here" if state.is_done(cell) else "outdated"
        values = sweep_table.row_of(results.get(cell.name, {}), columns)
        rows.append({"cell": cell.name, "overrides": dict(cell.overrides), "status": status, "values": values})
    shown = sweep_table.markdown(rows)
    texts = {"md": shown, "csv": sweep_table.table_csv(rows), "json": json.dumps(rows, indent=1)}
    for suffix, text in texts.items():
        with atomic_path(folder / f"table.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    sweep_table.check_columns(list(results.values()), columns or ())
    return shown


def sweep(
    folder: Path, config: str, cells: Sequence[Cell], columns, command, places: Sequence[str], again: bool
) -> int:
    """Runs what is not done, writes and prints the table; returns the exit code.

    Args:
      folder: the sweep's work directory.
      config: path of the config file.
      cells: all of them.
      columns: paths for the table; None means the default ones.
      command: function of a cell and a place.
      places: see `Runner`.
      again: run the cells that are done as well.
    """
    fix = "wait for it, or for the runs that it left behind, or choose another --workdir"
    with folder_lock(folder, fix=fix) as lock:  # runs inherit it, so that theirs counts as well
        state = State(folder, config)
        write_table(folder, cells, state, columns)
        waiting = [cell for cell in cells if again or not state.is_done(cell)]
        logging.info("%d cells, %d done; in %s", len(cells), len(cells) - len(waiting), folder)

        def table() -> None:
            try:
                write_table(folder, cells, state, columns)
            except InputError as error:
                logging.warning("%s", error)

        code = Runner(folder, lock, state, command, places).run(waiting, table)
        print(write_table(folder, cells, state, columns))
        print(f"Table: {folder / 'table.md'}")
        failed = [cell for cell in waiting if state.status(cell).startswith("failed")]
        for cell in failed:
            logging.error("%s: %s; log: %s", cell.name, state.status(cell), folder / cell.name / LOG)
        return code or int(bool(failed))


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    given = flags.FLAGS
    try:
        config = config_flags.get_config_filename(given["config"])
        fixed = {field: str(value) for field, value in config_flags.get_override_values(given["config"]).items()}
        cells = plan(config, given["config"].value, fixed, grid.parse_grid(given["grid"].value))
        default = str(default_workdir(given["config"].value)).replace("{cell}", "") + "-sweep"
        folder = Path(given["workdir"].value or default)
        columns = None if given["columns"].value is None else sweep_table.parse_columns(given["columns"].value)
        places = given["slices"].value or [""]
        if given["launch"].value is None and given["slices"].value:
            raise InputError("is given without --launch", where="--slices", fix="say by --launch how to reach a slice")
        if given["launch"].value is not None:
            check_launch(given["launch"].value, given["slices"].value)
        python = given["python"].value or ("python" if given["launch"].value else sys.executable)

        def command(cell: Cell, place: str) -> list[str]:
            if given["launch"].value is None:
                return command_of(cell, folder, python)
            return launched(given["launch"].value, cell, folder, python, place)

        if given["dry-run"].value:
            for i, cell in enumerate(cells):
                print(shlex.join(command(cell, places[i % len(places)])))
            return
        code = sweep(folder, config, cells, columns, command, places, given["recheck"].value)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code)


def define_flags() -> None:
    """The command line's; not defined on import, because experiments.run has flags of the same names."""
    config_flags.DEFINE_config_file("config", None, "Python file with get_config().", lock_config=True)
    flags.DEFINE_string("grid", None, "Fields and values: 'train.lr=1e-5,2e-5;seed=0..4;compose.tau=0.1..10:log5'.")
    flags.DEFINE_string("workdir", None, "Where the cells' folders go; runs/NAME-sweep by default.")
    flags.DEFINE_string(
        "columns",
        None,
        "Dotted paths into results.json, for the table, separated by commas; the main accuracies by default.",
    )
    flags.DEFINE_bool("dry-run", False, "Print the commands, one per line, and run none.")
    flags.DEFINE_bool("recheck", False, "Start cells that are done as well: what their data outdate runs again.")
    flags.DEFINE_string("launch", None, "Template of the command that runs a cell elsewhere.")
    flags.DEFINE_list("slices", [], "Where cells run at the same time, one in each place: {slice} in --launch.")
    flags.DEFINE_string("python", None, "Interpreter of the runs; this one, or python with --launch, by default.")


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["config", "grid"])
    app.run(main)
