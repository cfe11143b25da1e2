"""The smallest slice that a training step fits, found with as few compilations as arithmetic allows.

A compilation takes half a minute, and several where the compiler has to squeeze. So arithmetic says where to start, and
what a compiled program proves about other slices is not compiled again. Two facts are used, for a step with the same
rows on each device:

1. With fewer chips a chip holds more: its part of parameters, optimizer state and gradients grows, and the rest
   (activations of its rows, gathered weights) does not shrink. So a peak on one slice bounds those on smaller ones.
2. More chips never need less in total: where a program was refused, a slice whose chips all together have less memory
   than it took is too small as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from encore_jax.errors import InputError
from encore_jax.model.remat import REMAT
from encore_jax.parallel.aot import GIB, AotReport, bytes_per_device
from encore_jax.parallel.flops import matrix_entries
from encore_jax.parallel.mesh import AXES, BATCH, batch_shards, mesh_shape
from encore_jax.parallel.slices import TpuSlice, parse_slice
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.train.program import Program
from encore_jax.train.settings import TrainSettings

ROWS_PER_DEVICE = (1, 2, 4, 8)
"""What `most_rows` tries."""
SAVED_PER_LAYER = 3
"""Activations of a row that a layer leaves behind under full rematerialisation, in units of length x width: measured of
the shipped 8B step. It decides where a search starts, never what it says."""

Compile = Callable[[ExperimentConfig, TrainSettings, TpuSlice], AotReport]
Needs = Callable[[ExperimentConfig, TrainSettings, TpuSlice], "Arithmetic"]


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """What a step needs on one chip of a slice, without any compiler.

    Attributes:
      state: bytes of parameters and optimizer state.
      gradients: bytes of the gradients of what is trained: all at once, their common norm clips them.
      guess: bytes of everything, as far as arithmetic can tell.
    """

    state: int
    gradients: int
    guess: int


def arithmetic(program: Program) -> Arithmetic:
    """What a program's shapes say about its memory."""
    cfg, settings = program.cfg, program.settings
    item = jnp.dtype(program.backbone.dtype).itemsize
    state = bytes_per_device(program.abstract_state)
    gradients = bytes_per_device(program.abstract_state.trainable)
    rows = settings.rows // settings.accumulate // batch_shards(program.mesh)
    saved = SAVED_PER_LAYER * rows * settings.length * cfg.width * cfg.layers
    gathered = cfg.vocab_size * cfg.width + 2 * matrix_entries(cfg) // cfg.layers
    return Arithmetic(state, gradients, state + gradients + item * (saved + gathered))


def settings_for(config: ExperimentConfig, shards: int, rows: int, remat: str) -> TrainSettings:
    """The config's step with so many rows on a device at once: its own rows in more micro-batches where they divide.

    The step's mathematics stays the config's then; otherwise it takes as many micro-batches as the config says.
    """
    at_once, train = rows * shards, config.train
    accumulate = train.rows // at_once if train.rows % at_once == 0 else train.accumulate
    return dataclasses.replace(train, rows=at_once * accumulate, accumulate=accumulate, remat=remat)


class Candidate(NamedTuple):
    """A slice that only the compiler can refuse.

    Attributes:
      tpu, settings: the slice, and the step with one row on a device.
      needs: what arithmetic says.
    """

    tpu: TpuSlice
    settings: TrainSettings
    needs: Arithmetic


def smallest(
    config: ExperimentConfig, slices: Iterable[TpuSlice], compile: Compile, needs: Needs
) -> Iterator[dict[str, Any]]:
    """Searches the slices, the smallest first, for the first that the step fits with one row on a device.

    Starts where arithmetic expects it to fit, goes up until it does, and then down until the next smaller slice is
    ruled out: by the bound of what is compiled already, or else by the compiler.

    Yields:
      One row per slice that was looked at, as soon as its verdict is known: slice, rows per device, remat, peak and
      HBM in GiB, fits, why not, seconds of compilation (None where arithmetic was enough).
    """
    slices = iter(slices)
    untried: list[Candidate] = []
    for tpu in slices:
        found = _look(config, tpu, needs)
        if not isinstance(found, Candidate):
            yield found
            continue
        untried.append(found)
        if found.needs.guess <= tpu.hbm_bytes:
            break
    while untried:
        tried = untried.pop()
        report = compile(config, tried.settings, tried.tpu)
        yield attempt(tried.tpu, 1, "full", report)
        if report.fits:
            yield from _downwards(config, untried, tried, report, compile)
            return
        untried, taken = [], report.memory.peak * tried.tpu.chips
        for tpu in slices:
            if taken > tpu.chips * tpu.hbm_bytes:
                each = taken // tpu.chips
                why = f"all chips of {tried.tpu.name} together needed more than these have"
                yield attempt(tpu, 1, "full", needed=each, why=why)
                continue
            found = _look(config, tpu, needs)
            if isinstance(found, Candidate):
                untried = [found]
                break
            yield found


def _look(config: ExperimentConfig, tpu: TpuSlice, needs: Needs) -> Candidate | dict[str, Any]:
    """A candidate, or the row of a slice that needs no compiler to be refused."""
    try:
        settings = settings_for(config, _shards(config, tpu), 1, "full")
        held = needs(config, settings, tpu)
    except InputError as error:
        if error.where != "mesh":
            raise
        return attempt(tpu, 0, "", why=f"mesh: {error.problem}")
    if held.state > tpu.hbm_bytes:
        why = f"parameters and optimizer state alone need {held.state / GIB:.2f} GiB"
        return attempt(tpu, 1, "full", needed=held.state, why=why)
    return Candidate(tpu, settings, held)


def _shards(config: ExperimentConfig, tpu: TpuSlice) -> int:
    """Over how many chips rows are split."""
    shape = dict(zip(AXES, mesh_shape(config.mesh, tpu.chips), strict=True))
    return math.prod(shape[axis] for axis in BATCH)


def _downwards(
    config: ExperimentConfig, smaller: list[Candidate], fit: Candidate, report: AotReport, compile: Compile
) -> Iterator[dict[str, Any]]:
    """From a slice that fits to the last that does."""
    while smaller:
        rest = report.memory.peak - fit.needs.state - fit.needs.gradients
        tpu, settings, needs = smaller.pop()
        bound = needs.state + needs.gradients + rest
        if bound > tpu.hbm_bytes:
            why = f"state and gradients {(bound - rest) / GIB:.2f} GiB, the rest no less than on {fit.tpu.name}"
            yield attempt(tpu, 1, "full", needed=bound, why=why)
            return
        report = compile(config, settings, tpu)
        yield attempt(tpu, 1, "full", report)
        if not report.fits:
            return
        fit = Candidate(tpu, settings, needs)


def most_rows(config: ExperimentConfig, tpu: TpuSlice, compile: Compile) -> Iterator[dict[str, Any]]:
    """How many rows a device takes at once on one slice, for every remat policy, the thriftiest first.

    Rows are bisected, and a policy that keeps more is not asked about more rows than full rematerialisation takes.

    Yields:
      Rows as `smallest` does.
    """
    shards = _shards(config, tpu)
    limit = len(ROWS_PER_DEVICE)
    for remat in sorted(REMAT, key=lambda name: name != "full"):
        low, high = -1, limit  # indices: the largest that fits, the smallest that does not
        while high - low > 1:
            middle = (low + high) // 2
            rows = ROWS_PER_DEVICE[middle]
            report = compile(config, settings_for(config, shards, rows, remat), tpu)
            yield attempt(tpu, rows, remat, report)
            low, high = (middle, high) if report.fits else (low, middle)
        if remat == "full":
            limit = low + 1
        if not limit:
            return


def attempt(tpu: TpuSlice, rows: int, remat: str, report: AotReport | None = None, needed: int = 0,
            why: str = "") -> dict[str, Any]:  # fmt: skip
    """One line of the search: what was asked, and what the compiler or arithmetic says."""
    return {
        "slice": tpu.name,
        "chips": tpu.chips,
        "rows_per_device": rows,
        "remat": remat,
        "peak_gib": round((report.memory.peak if report else needed) / GIB, 2),
        "hbm_gib": round(tpu.hbm_bytes / GIB, 2),
        "fits": bool(report and report.fits),
        "compile_seconds": report and round(report.compile_seconds, 1),
        "why_not": why or (f"{report.overrun / GIB:.2f} GiB too many" if report and not report.fits else ""),
    }


HEAD = f"{'slice':<12}{'rows/device':>11}  {'remat':<18}{'peak GiB':>10}{'of HBM':>8}  {'compiled':>8}  fits"


def line(row: dict[str, Any]) -> str:
    """An attempt as text.

    >>> row = {"slice": "v5e:2x2", "rows_per_device": 1, "remat": "full", "peak_gib": 32.5, "hbm_gib": 15.75,
    ...        "fits": False, "compile_seconds": 40.2, "why_not": "16.75 GiB too many"}
    >>> print(HEAD + "\\n" + line(row))
    slice       rows/device  remat               peak GiB  of HBM  compiled  fits
    v5e:2x2               1  full                   32.50   15.75      40 s  no: 16.75 GiB too many
    """
    verdict = "yes" if row["fits"] else f"no: {row['why_not']}"
    seconds = row["compile_seconds"]
    compiled = "no need" if seconds is None else f"{seconds:.0f} s"
    return (
        f"{row['slice']:<12}{row['rows_per_device']:>11}  {row['remat']:<18}{row['peak_gib']:>10.2f}"
        f"{row['hbm_gib']:>8.2f}  {compiled:>8}  {verdict}"
    )


def smallest_fit(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the attempts that fit, the one with the fewest chips; among equals the first."""
    return min((row for row in rows if row["fits"]), key=lambda row: row["chips"], default=None)


def conclusion(config: ExperimentConfig, rows: Sequence[dict[str, Any]]) -> str:
    """What a search for a generation's smallest slice found, why it stopped, and what to type."""
    programs = sum(row["compile_seconds"] is not None for row in rows)
    count = f"{programs} program{'s' * (programs != 1)} compiled"
    best = smallest_fit(rows)
    if best is None:
        return f"no slice fits: the largest was reached ({count})"
    smaller = [row for row in rows if row["chips"] < best["chips"]]
    why = "every smaller slice is ruled out above" if smaller else "there is no smaller slice"
    train = settings_for(config, _shards(config, parse_slice(best["slice"])), 1, best["remat"])
    flags = [f"--config.train.{name}={getattr(train, name)}" for name in ("rows", "accumulate", "remat")
             if getattr(train, name) != getattr(config.train, name)]  # fmt: skip
    text = f"smallest slice that fits: {best['slice']}, {best['chips']} chips ({why}; {count})"
    if flags:
        text += f"\nso that one row is on a chip at once: {' '.join(flags)}"
    return text + f"\nhow many rows a chip takes at once: --aot=fit:{best['slice']}"
