"""Compiles a config's training step for a TPU slice, on a machine without one: does it fit, and what does it cost?

python -m experiments.run --config=experiments/configs/encore_llama31_8b.py --aot=v5e:8x8
python -m experiments.run --config=experiments/configs/encore_llama31_8b.py --aot=fit:v5e
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from encore_jax.data import locate
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import folder_lock
from encore_jax.data.outputs import check_new
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.model.decoder import REMAT
from encore_jax.parallel.aot import GIB, AotReport, bytes_per_device, compile_report
from encore_jax.parallel.flops import step_flops
from encore_jax.parallel.mesh import batch_shards, make_mesh
from encore_jax.parallel.slices import TpuSlice, parse_slice, standard_slices, topology
from encore_jax.recipes.config import ExperimentConfig, RunConfig
from encore_jax.recipes.stages.gradient import backbone_config
from encore_jax.recipes.stages.ingest import rule_pool
from encore_jax.train.program import Program, make_program
from encore_jax.train.settings import TrainSettings

STEPS = 1000
"""Length of the learning-rate schedule that is compiled; it changes no shape."""
ROWS_PER_SHARD = (1, 2, 4, 8)
"""Rows per device that a search tries."""
FIT = "fit:"
OUTPUT = "aot.json"
NO_DATA = "none, only compiled"


def name_data(config: RunConfig) -> None:
    """Fills in the files that a config leaves to the command line: compiling reads none of them."""
    if hasattr(config, "train") and config.data.source == "files":
        config.data.path = config.data.path or NO_DATA
        config.data.ratings_path = config.data.ratings_path or NO_DATA


def run_aot(config: ExperimentConfig, request: str, workdir: Path, overwrite: bool = False) -> bool:
    """Compiles for "GENERATION:TOPOLOGY", or searches for "fit:GENERATION"; prints, and writes aot.json.

    Returns:
      Whether the step fits the slice (or any slice of the generation).

    Raises:
      InputError: an unknown slice, no TPU compiler, a config that trains nothing by gradient, or an aot.json in the
        work directory that is somebody else's (unless `overwrite`).
    """
    if not hasattr(config, "train"):
        raise InputError(
            f"{type(config).__name__} trains nothing, so there is no step to compile", where="--aot",
            fix="use a config that trains, such as encore_llama31_8b.py",
        )  # fmt: skip
    if config.train.method != "gradient":
        raise InputError(
            f"method {config.train.method!r} compiles no training step", where="config.train.method",
            fix="use --config.train.method=gradient",
        )  # fmt: skip
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
    if request.startswith(FIT):
        rows = list(search(config, standard_slices(request.removeprefix(FIT)), compile_for))
        best = smallest_fit(rows)
        result = {"searched": request, "smallest": best and best["slice"], "tried": rows}
        text = search_table(rows)
        fits = best is not None
        text += f"\nsmallest slice that fits: {best['slice']}" if fits else "\nno slice fits"
    else:
        report = compile_for(config, config.train, parse_slice(request))
        result, text, fits = report.to_dict(), report.table(), report.fits
    with atomic_path(workdir / OUTPUT) as temporary:
        temporary.write_text(json.dumps(result, indent=1))
    print(text)
    print(f"written: {workdir / OUTPUT}")
    return fits


def slice_program(config: ExperimentConfig, settings: TrainSettings, tpu: TpuSlice) -> Program:
    """The training program of a config on a described slice; no checkpoint is needed if an architecture is named."""
    local = None if config.model.architecture else locate(config.model.path, offline=config.data.offline)
    cfg = backbone_config(config.model, local)
    rules = 1 if settings.loss == "bradley_terry" else len(rule_pool(config.data))
    mesh = make_mesh(config.mesh, topology(tpu).devices)
    return make_program(cfg, rules, settings, mesh, steps=STEPS, dtype=config.model.dtype)


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
        analytic_flops=analytic_flops(program),
    )


def analytic_flops(program: Program) -> int:
    """Of one step on all devices, by arithmetic."""
    settings, shape = program.settings, program.shape
    return step_flops(
        program.cfg,
        rows=settings.rows,
        length=settings.length,
        ends=shape.ends * shape.micro_batches,
        rules=program.rules,
        trainable=settings.trainable,
        adapters=sum(math.prod(x.shape) for x in jax.tree.leaves(program.abstract_params.get("lora", {}))),
    )


Compile = Callable[[ExperimentConfig, TrainSettings, TpuSlice], AotReport]


def search(config: ExperimentConfig, slices: Iterable[TpuSlice], compile: Compile) -> Iterable[dict[str, Any]]:
    """Tries slices from the smallest on; on the first that fits, more rows per device and every remat policy.

    A slice whose parameters and optimizer state alone exceed the HBM, or that the config's mesh does not fit, is not
    compiled for.

    Yields:
      One row per attempt: slice, rows per device, remat, peak and HBM in GiB, fits, why not.
    """
    for tpu in slices:
        try:
            shards = batch_shards(make_mesh(config.mesh, topology(tpu).devices))
            settings = _settings(config, shards, "full")
            state = slice_program(config, settings, tpu).abstract_state
        except InputError as error:
            if error.where != "mesh":
                raise
            yield _row(tpu, 0, "", None, f"mesh: {error.problem}")
            continue
        needed = bytes_per_device(state)
        if needed > tpu.hbm_bytes:
            yield _row(
                tpu, 1, "full", None, f"parameters and optimizer state alone need {needed / GIB:.2f} GiB", needed
            )
            continue
        first = compile(config, settings, tpu)
        yield _row(tpu, 1, "full", first)
        if not first.fits:
            continue
        for remat in sorted(REMAT, key=lambda name: name != "full"):
            for rows in ROWS_PER_SHARD:
                if (remat, rows) == ("full", 1):
                    continue
                report = compile(config, _settings(config, rows * shards, remat), tpu)
                yield _row(tpu, rows, remat, report)
                if not report.fits:
                    break
        return


def _settings(config: ExperimentConfig, rows: int, remat: str) -> TrainSettings:
    return dataclasses.replace(config.train, rows=rows * config.train.accumulate, remat=remat)


def _row(tpu: TpuSlice, rows: int, remat: str, report: AotReport | None, why: str = "", needed: int = 0) -> dict:
    row = {
        "slice": tpu.name,
        "rows_per_device": rows,
        "remat": remat,
        "peak_gib": round((report.memory.peak if report else needed) / GIB, 2),
        "hbm_gib": round(tpu.hbm_bytes / GIB, 2),
        "fits": bool(report and report.fits),
        "compile_seconds": report and round(report.compile_seconds, 1),
        "why_not": why or (f"{report.overrun / GIB:.2f} GiB too many" if report and not report.fits else ""),
    }
    logging.info("%s", {name: value for name, value in row.items() if value not in ("", None)})
    return row


def smallest_fit(rows: Iterable[dict]) -> dict | None:
    """The first attempt that fits: slices were tried from the smallest on."""
    return next((row for row in rows if row["fits"]), None)


def search_table(rows: Iterable[dict]) -> str:
    """The attempts as text.

    >>> row = {"slice": "v5e:2x2", "rows_per_device": 1, "remat": "full", "peak_gib": 32.5, "hbm_gib": 15.75,
    ...        "fits": False, "why_not": "16.75 GiB too many"}
    >>> print(search_table([row]))
    slice       rows/device  remat               peak GiB  of HBM  fits
    v5e:2x2               1  full                   32.50   15.75  no: 16.75 GiB too many
    """
    lines = [f"{'slice':<12}{'rows/device':>11}  {'remat':<18}{'peak GiB':>10}{'of HBM':>8}  fits"]
    for row in rows:
        verdict = "yes" if row["fits"] else f"no: {row['why_not']}"
        lines.append(
            f"{row['slice']:<12}{row['rows_per_device']:>11}  {row['remat']:<18}{row['peak_gib']:>10.2f}"
            f"{row['hbm_gib']:>8.2f}  {verdict}"
        )
    return "\n".join(lines)
