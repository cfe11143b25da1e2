"""Compiles a config's step for a TPU slice, on a machine without one: does it fit, and what does it cost?

The step is that of training, or what `encore_jax.cli.aot_inference` names: features, scores, a local judge.

| --aot= | what |
|---|---|
| v5e:8x8 | that slice |
| fit:v5e | the smallest slice of a generation |
| fit | the smallest slice of every generation |
| fit:v5e:4x4 | the most rows on a chip of that slice |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from encore_jax.cli.aot_inference import compile_inference
from encore_jax.cli.aot_search import HEAD, arithmetic, conclusion, line, most_rows, smallest, smallest_fit
from encore_jax.data import locate
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import folder_lock
from encore_jax.data.outputs import check_new
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.model.heads import joint_head_names
from encore_jax.parallel.aot import AotReport, bytes_per_device, compile_report
from encore_jax.parallel.mesh import make_mesh
from encore_jax.parallel.slices import GENERATIONS, TpuSlice, parse_slice, standard_slices, topology
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.run_config import RunConfig
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.gradient import backbone_config
from encore_jax.train.program import Program, make_program
from encore_jax.train.settings import TrainSettings

STEPS = 1000
"""Length of the learning-rate schedule that is compiled; it changes no shape."""
FIT = "fit"
OUTPUT = "aot.json"
NO_DATA = "none, only compiled"


def name_data(config: RunConfig) -> None:
    """Fills in the files that a config leaves to the command line: compiling reads none of them."""
    if hasattr(config, "data") and getattr(config.data, "source", "") == "files":
        config.data.path = config.data.path or NO_DATA
        config.data.ratings_path = config.data.ratings_path or NO_DATA
    if getattr(config, "architecture", ""):  # a benchmark, whose model need not be there
        config.model, config.data = config.model or NO_DATA, config.data or NO_DATA


def run_aot(config: ExperimentConfig, request: str, workdir: Path, overwrite: bool = False) -> bool:
    """Compiles for "GENERATION:TOPOLOGY", or searches: "fit", "fit:GENERATION", "fit:GENERATION:TOPOLOGY".

    Prints what it finds as it finds it, and writes aot.json.

    Returns:
      Whether the step fits the slice (or any slice of the generation).

    Raises:
      InputError: an unknown slice, no TPU compiler, a config that puts no model on devices, a search for one that
        trains nothing by gradient, or an aot.json in the work directory that is somebody else's (unless `overwrite`).
    """
    with folder_lock(workdir, fix="wait until it ends, or choose another --workdir"):
        check_new(workdir / OUTPUT, overwrite=overwrite, made=_is_ours(workdir / OUTPUT))
        return _run(config, request, workdir)


def _is_ours(path: Path) -> bool:
    """Whether a file is what `run_aot` wrote."""
    try:
        return bool(read_json(path, dict[str, object]).keys() & {"tried", "per_chip_gib"})
    except InputError:
        return False


def _run(config: ExperimentConfig, request: str, workdir: Path) -> bool:
    kind, _, rest = request.partition(":")
    trained = hasattr(config, "train") and config.train.method == "gradient"
    if kind == FIT and not trained:
        fix = "name a slice, e.g. --aot=v5e:2x4; or train by gradient: --config.train.method=gradient"
        raise InputError("searches for training steps, and this config has none", where=f"--aot={request}", fix=fix)
    if kind == FIT:
        result, fits = _search(config, rest)
        result = {"searched": request} | result
    else:
        tpu = parse_slice(request)
        report = compile_for(config, config.train, tpu) if trained else compile_inference(config, tpu)
        result, fits = report.to_dict(), report.fits
        print(report.table())
    with atomic_path(workdir / OUTPUT) as temporary:
        temporary.write_text(json.dumps(result, indent=1))
    print(f"written: {workdir / OUTPUT}")
    return fits


def _search(config: ExperimentConfig, rest: str) -> tuple[dict[str, Any], bool]:
    """Searches "" (all generations), "GENERATION", or the rows of a "GENERATION:TOPOLOGY"; prints what it tries."""
    if re.search("[-:]", rest):
        tpu = parse_slice(rest)
        rows = shown(most_rows(config, tpu, compile_for))
        best = max((row for row in rows if row["fits"]), key=lambda row: row["rows_per_device"], default=None)
        print(f"most rows on a chip of {tpu.name}: {best['rows_per_device']}" if best else "not one row fits a chip")
        return {"tried": rows}, best is not None
    found = [(name, smallest_of(config, standard_slices(name))) for name in ([rest] if rest else GENERATIONS)]
    best = {name: smallest_fit(rows) for name, rows in found}
    if not rest:
        print("\n".join(f"{name}: {row['slice'] if row else 'no slice fits'}" for name, row in best.items()))
    (first, *others), tried = best.values(), [row for _, rows in found for row in rows]
    names = {name: row and row["slice"] for name, row in best.items()}
    return {"smallest": names if others else first and first["slice"], "tried": tried}, any(best.values())


def smallest_of(config: ExperimentConfig, slices: Sequence[TpuSlice]) -> list[dict[str, Any]]:
    """Searches the smallest of the slices that the config fits; prints what it tries, and why it stops."""
    needs = lambda *step: arithmetic(slice_program(*step))  # noqa: E731
    rows = shown(smallest(config, slices, compile_for, needs))
    print(conclusion(config, rows), flush=True)
    return rows


def shown(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prints a search's attempts as they come."""
    print(HEAD, flush=True)
    seen = []
    for row in rows:
        seen.append(row)
        print(line(row), flush=True)
    return seen


def slice_program(config: ExperimentConfig, settings: TrainSettings, tpu: TpuSlice) -> Program:
    """The training program of a config on a described slice; no checkpoint is needed if an architecture is named."""
    local = None if config.model.architecture else locate(config.model.path, offline=config.data.offline)
    cfg = backbone_config(config.model, local)
    mesh = make_mesh(config.mesh, topology(tpu).devices)
    return make_program(cfg, _heads(config, settings), settings, mesh, steps=STEPS, dtype=config.model.dtype)


def _heads(config: ExperimentConfig, settings: TrainSettings) -> int:
    """How many heads a training has: one for preferences, one for each rule, or both."""
    if settings.loss == "bradley_terry":
        return 1
    rules = rule_pool(config.data).names
    return len(joint_head_names(rules) if settings.loss == "joint" else rules)


def compile_for(config: ExperimentConfig, settings: TrainSettings, tpu: TpuSlice) -> AotReport:
    """Compiles the step for a slice."""
    program = slice_program(config, settings, tpu)
    logging.info("compiling %d rows of %d tokens, remat %s, for %s", settings.rows, settings.length, settings.remat,
                 tpu.name)  # fmt: skip
    return compile_report(
        program.lower(),
        slice=tpu,
        parameters_bytes=bytes_per_device(program.abstract_state.params),
        optimizer_bytes=bytes_per_device(program.abstract_state.optimizer),
        analytic_flops=program.flops,
    )
