"""Runs an experiment once for every cell of a grid, and puts the results into one table.

    encore sweep --config=quickstart --grid='compose.tau=0.5,1,2;seed=0..4'

Further ``--config.FIELD=VALUE`` hold for all cells; in them, {cell} stands for the cell's name. Every cell is a run of
its own, in WORKDIR/CELL, one after another; a failed one is recorded and the sweep continues. A second run carries out
only what is not done; sweep.json keeps account. The table is written to WORKDIR/table.md, .csv and .json.

With --launch runs happen elsewhere, e.g. on TPU slices, one at a time on each:

    --slices=a,b --launch='ssh {slice} {command}'

The template is split into words as by a shell. {command} is the run's whole command; {arguments}, a word by itself, its
arguments without --workdir; {cell} the cell's name; {workdir} its folder here, where results.json is looked for.

Cells that differ only in what comes after training (--grid='compose.tau=0.5,1,2') take the finished stages of the first
one: nothing is trained twice. --reuse=RUN takes those of a finished run as well, by default runs/NAME if it is there.

Exit codes: 0 all done, 1 a run failed, 75 a run was preempted (the same command resumes), 2 bad input.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from absl import flags, logging

import encore_jax
from encore_jax.cli import grid, sweep_table
from encore_jax.cli.command import define_config, folder_of, read_command
from encore_jax.cli.idle_settings import TOLD, idle_fields
from encore_jax.cli.list_values import list_items
from encore_jax.cli.overrides import apply_overrides
from encore_jax.cli.sweep_reuse import lend_stages, most_similar
from encore_jax.cli.sweep_runs import LOG, RESULTS, STATE, Cell, Runner, State, check_launch, command_of, launched
from encore_jax.command_line import one_line_errors, start_logging
from encore_jax.data.atomic import atomic_path, check_makeable
from encore_jax.data.lock import folder_lock, reader_lock
from encore_jax.data.outputs import in_the_way
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, read_json
from encore_jax.recipes.run_config import RunConfig, default_workdir, to_dict, validated

MAX_RESULTS = 256 << 20
"""Bytes of a results.json that is read."""


class Named(TypedDict):
    """What a table looks up by its name."""

    name: str


class View(Named):
    """A view of a run's results, as far as the default columns need it."""

    label: str


class HeldOut(TypedDict, total=False):
    methods: list[Named]


class Results(TypedDict, total=False):
    views: list[View]
    held_out: HeldOut


def plan(config: str, base: RunConfig, fixed: Mapping[str, str], axes: Mapping[str, tuple[str, ...]]) -> list[Cell]:
    """The cells, each with its configuration resolved and validated just as `encore run` will.

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
    planned, kept_in, idle = [], {}, []
    for name, overrides in grid.cells(axes).items():
        merged = {field: value.replace("{cell}", name) for field, value in fixed.items()} | overrides
        resolved = _resolved(base, merged)
        idle.append(
            {field: why for field, why in idle_fields(resolved).items() if field in merged and field not in TOLD}
        )
        for part in ("train", "adapter"):
            folder = getattr(getattr(resolved, part, None), "checkpoints", "")
            if folder and kept_in.setdefault(folder, name) != name:
                fix = f"--config.{part}.checkpoints={folder.rstrip('/')}/{{cell}}"
                raise InputError("would be shared by all cells", where=f"config.{part}.checkpoints", fix=fix)
        arguments = (f"--config={config}", *_flags_of(merged))
        identity = json.dumps(to_dict(resolved), sort_keys=True) + encore_jax.__version__
        planned.append(Cell(name, overrides, arguments, hashlib.sha256(identity.encode()).hexdigest()))
    _check_effects(idle)
    return planned


def _check_effects(idle: Sequence[Mapping[str, str]]) -> None:
    """Raises InputError for a field that some cells set in vain: they would be refused, each by its own run."""
    for fields in idle:
        for field, why in fields.items():
            cells = sum(field in others for others in idle)
            which = "" if cells == len(idle) else f", as in {cells} of the {len(idle)} cells"
            fix = "leave it out" if not which else "sweep the cells in which it has one by a sweep of their own"
            raise InputError(f"has no effect where {why}{which}", where=f"config.{field}", fix=fix)


def _flags_of(overrides: Mapping[str, str]) -> list[str]:
    return [f"--config.{field}={value}" for field, value in overrides.items()]


def _resolved(base: RunConfig, overrides: Mapping[str, str]) -> RunConfig:
    try:
        arguments = {field: [f"--config.{field}={value}"] for field, value in overrides.items()}
        return validated(apply_overrides(copy.deepcopy(base), arguments))
    except InputError as error:
        shown = ", ".join(f"{field}={value}" for field, value in overrides.items())
        raise InputError(error.problem, where=f"cell {shown}: {error.where}", fix=error.fix) from None


def write_table(folder: Path, cells: Sequence[Cell], state: State, columns: Sequence[str] | None) -> str:
    """Writes table.md, table.csv and table.json of what is done so far; returns the first.

    Raises:
      InputError: a column that no finished run has.
    """
    rows, results = [], {}
    for cell in cells:
        path, status = folder / cell.name / RESULTS, state.status(cell)
        if state.is_done(cell) and path.exists():
            try:
                values = read_json(path, dict[str, object], max_bytes=MAX_RESULTS)
                check_shape(values, Results, where=str(path))
                results[cell.name] = values
            except InputError as error:
                logging.warning("%s", error)
                status = f"done, unreadable {RESULTS}"
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
    folder: Path,
    config: str,
    cells: Sequence[Cell],
    columns: Sequence[str] | None,
    command: Callable[[Cell, str], list[str]],
    places: Sequence[str],
    again: bool,
    overwrite: bool = False,
    reuse: Sequence[Path] | None = None,
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
      overwrite: replace tables in the folder that no sweep has made.
      reuse: runs beside the cells whose finished stages serve where they fit; None if cells run elsewhere.
    """
    with _checked(folder, config, overwrite, folder_lock) as (lock, state):  # runs inherit it: theirs counts as well
        state.save()
        write_table(folder, cells, state, columns)
        waiting = [cell for cell in cells if again or not state.is_done(cell)]
        logging.info("%d cells, %d done; in %s", len(cells), len(cells) - len(waiting), folder)

        def table() -> None:
            try:
                write_table(folder, cells, state, columns)
            except InputError as error:
                logging.warning("%s", error)

        def before(cell: Cell, home: Path) -> None:
            if reuse is not None:
                _lend(folder, cells, state, cell, home, reuse)

        code = Runner(folder, lock, state, command, places, before).run(waiting, table)
        print(write_table(folder, cells, state, columns))
        print(f"Table: {folder / 'table.md'}")
        failed = [cell for cell in waiting if state.status(cell).startswith("failed")]
        for cell in failed:
            logging.error("%s: %s; log: %s", cell.name, state.status(cell), folder / cell.name / LOG)
        return code or int(bool(failed))


@contextlib.contextmanager
def _checked(folder: Path, config: str, overwrite: bool, lock: Callable) -> Iterator[tuple[int | None, State]]:
    """What a sweep and its dry run refuse before the first cell; yields what the lock gives, and the sweep's state."""
    check_makeable(folder)
    fix = "wait for it, or for the runs that it left behind, or choose another --workdir"
    with lock(folder, fix=fix) as held:
        state = State(folder, config)
        tables = in_the_way(folder, [f"table.{suffix}" for suffix in ("md", "csv", "json")])
        if tables and not overwrite and not (folder / STATE).exists():
            fix = "choose another --workdir, or give --overwrite to replace it"
            raise InputError(f"holds what no sweep has made: {', '.join(tables)}", where=str(folder), fix=fix)
        yield held, state


def _lend(folder: Path, cells: Sequence[Cell], state: State, cell: Cell, home: Path, others: Sequence[Path]) -> None:
    """Puts finished stages of the most similar cell, or of another run, where the cell's own will be looked for."""
    done = {other.name: other.overrides for other in cells if other != cell and state.is_done(other)}
    name = most_similar(cell.overrides, done)
    for source in ([] if name is None else [folder / name]) + list(others):
        if source.resolve() != home.resolve() and (stages := lend_stages(source, home)):
            logging.info("%s: stages of %s are taken where they fit: %s", cell.name, source, ", ".join(stages))


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        config, path, fixed = read_command(argv, required=["grid"])
        start_logging()
        given = {flag: flags.FLAGS[flag].value for flag in FLAGS}
        cells = plan(path, config, fixed, grid.parse_grid(given["grid"]))
        default = str(default_workdir(config)).replace("{cell}", "") + "-sweep"
        folder = Path(default) if given["workdir"] is None else folder_of(config, given["workdir"])
        columns = None if given["columns"] is None else sweep_table.parse_columns(given["columns"])
        slices, launch = list_items(given["slices"]), given["launch"]
        places = slices or [""]
        if launch is None and slices:
            raise InputError("is given without --launch", where="--slices", fix="say by --launch how to reach a slice")
        if launch is not None:
            if given["reuse"] is not None:
                raise InputError("has no effect with --launch: runs are elsewhere", where="--reuse", fix="leave it out")
            check_launch(launch, slices)
        python = given["python"] or ("python" if launch else sys.executable)

        def command(cell: Cell, place: str) -> list[str]:
            more = ("--overwrite",) if given["overwrite"] else ()
            cell = dataclasses.replace(cell, arguments=(*cell.arguments, *more))
            if launch is None:
                return command_of(cell, folder, python)
            return launched(launch, cell, folder, python, place)

        reused = None if launch else _reused(given["reuse"], config)
        if given["dry_run"]:
            with _checked(folder, path, given["overwrite"], reader_lock):
                pass
            for i, cell in enumerate(cells):
                print(shlex.join(command(cell, places[i % len(places)])))
            return
        options = {"again": given["recheck"], "overwrite": given["overwrite"], "reuse": reused}
        sys.exit(sweep(folder, path, cells, columns, command, places, **options))


def _reused(run: str | None, config: RunConfig) -> list[Path]:
    """The runs whose stages serve: the one that was named, or the one that the configuration would make."""
    if run is not None and not Path(run).is_dir():
        raise InputError("there is no such folder", where=f"--reuse={run}", fix="name the work directory of a run")
    return [Path(run)] if run is not None else [default_workdir(config)]


FLAGS = ("grid", "workdir", "columns", "dry_run", "recheck", "launch", "slices", "python", "overwrite", "reuse")


def define_flags() -> None:
    """The command line's; not defined on import, because encore_jax.cli.run has flags of the same names."""
    define_config()
    flags.DEFINE_string("grid", None, "Fields and values: 'train.lr=1e-5,2e-5;seed=0..4;compose.tau=0.1..10:log5'.")
    flags.DEFINE_string(
        "columns",
        None,
        "Dotted paths into results.json, for the table, separated by commas; the main accuracies by default.",
    )
    flags.DEFINE_bool("dry_run", False, "Print the commands, one per line, and run none.")
    flags.DEFINE_bool("recheck", False, "Start cells that are done as well: what their data outdate runs again.")
    flags.DEFINE_string("launch", None, "Template of the command that runs a cell elsewhere.")
    flags.DEFINE_string("slices", "", "Where cells run at the same time, one in each place: {slice} in --launch.")
    flags.DEFINE_string("reuse", None, "Work directory of a run whose finished stages serve where they fit.")
    flags.DEFINE_string("python", None, "Interpreter of the runs; this one, or python with --launch, by default.")


if __name__ == "__main__":
    define_flags()
    main(sys.argv)
