"""What a step will need on a TPU slice, said by the TPU's own compiler before anyone pays for the slice.

Memory. A program on a chip holds its arguments, its results, temporaries and its code at once; a donated argument
shares its buffer with a result. So, from XLA's memory analysis,

    peak = arguments + results - aliased + temporaries + code,

which is what the compiler holds against the chip's HBM, but for megabytes of scratch space of collectives: near the
limit its own out-of-memory message names the same sum. (XLA's `peak_memory_in_bytes` is another number: it also counts
buffers that never leave the on-chip memory.) Where it has to squeeze, the compiler accepts some programs whose sum is a
few GiB too large; nobody has run them, so they count as not fitting. Sizes include the padding of the chip's tiles,
except those of parameters and optimizer state; their padding shows up among the other arguments.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import re
import time
from typing import Any

import jax

from encore_jax.parallel.slices import TpuSlice

GIB = 2**30
MFU = 0.4
"""Share of the peak at which the step time is stated: for orientation, nothing is measured."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one chip; None where a compiler that refused the program did not say.

    Attributes:
      parameters, optimizer: as the caller says.
      other: the remaining arguments: the batch, counters, padding.
      results: what is not written into a donated argument.
      temporaries: activations, gradients, gathered weights.
      code: the program itself.
      peak: all of it.
      hbm: what the chip has for programs.
    """

    parameters: int
    optimizer: int
    other: int | None
    results: int | None
    temporaries: int | None
    code: int | None
    peak: int
    hbm: int


@dataclasses.dataclass(frozen=True)
class AotReport:
    """One step compiled for one slice, or refused.

    Attributes:
      slice: what it was compiled for.
      memory: per chip.
      fits: whether the compiler accepted it, and `memory.peak` is no more than the chip has.
      analytic_flops: of one step on all chips, by arithmetic (`flops.step_flops`).
      refusal: the compiler's words.
      compile_seconds: how long the compiler took.
      versions: of jax, jaxlib and libtpu.
    """

    slice: TpuSlice
    memory: Memory
    fits: bool
    analytic_flops: int
    refusal: str | None
    compile_seconds: float
    versions: dict[str, str]

    @property
    def overrun(self) -> int:
        """Bytes per chip that are too many, 0 where the step fits."""
        return 0 if self.fits else max(1, self.memory.peak - self.memory.hbm)

    @property
    def seconds_at_mfu(self) -> float:
        """How long a step takes if the analytic FLOPs run at `MFU` of the slice's peak."""
        return self.analytic_flops / (self.slice.chips * self.slice.peak_flops * MFU)

    def to_dict(self) -> dict[str, Any]:
        """For aot.json; sizes in GiB."""
        gib = {name: value if value is None else round(value / GIB, 4) for name, value in _sizes(self.memory).items()}
        return {
            "slice": self.slice.name,
            "chips": self.slice.chips,
            "fits": self.fits,
            "overrun_gib": round(self.overrun / GIB, 4),
            "per_chip_gib": gib,
            "analytic_flops_per_step": self.analytic_flops,
            "seconds_per_step": {"mfu": MFU, "seconds": round(self.seconds_at_mfu, 4)},
            "refusal": self.refusal,
            "compile_seconds": round(self.compile_seconds, 1),
            "versions": self.versions,
        }

    def table(self) -> str:
        """The same for people."""
        return "\n".join(_lines(self))


def compile_report(
    lowered: jax.stages.Lowered,
    *,
    slice: TpuSlice,
    parameters_bytes: int,
    optimizer_bytes: int,
    analytic_flops: int,
) -> AotReport:
    """Compiles a lowered step and reads the result.

    Args:
      lowered: `jax.jit(step, ...).lower(...)` on a mesh over `topology(slice).devices`.
      slice: what it was lowered for.
      parameters_bytes, optimizer_bytes: on one device, see `bytes_per_device`.
      analytic_flops: of one step on all devices, see `flops.step_flops`.

    Raises:
      jax.errors.JaxRuntimeError: the compiler failed for another reason than too little HBM.
    """
    start = time.perf_counter()
    refusal = None
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = parse_out_of_memory(str(error))
        if needed is None:
            raise
        peak, hbm = needed
        memory = Memory(parameters_bytes, optimizer_bytes, None, None, None, None, peak, hbm)
        refusal = str(error).splitlines()[0]
    seconds = time.perf_counter() - start
    if refusal is None:
        memory = _memory(compiled.memory_analysis(), parameters_bytes, optimizer_bytes, slice.hbm_bytes)
    fits = refusal is None and memory.peak <= memory.hbm
    return AotReport(slice, memory, fits, analytic_flops, refusal, seconds, _versions())


def _memory(analysis, parameters: int, optimizer: int, hbm: int) -> Memory:
    arguments = analysis.argument_size_in_bytes
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    temporaries, code = analysis.temp_size_in_bytes, analysis.generated_code_size_in_bytes
    peak = arguments + results + temporaries + code
    return Memory(parameters, optimizer, arguments - parameters - optimizer, results, temporaries, code, peak, hbm)


_UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([BKMGT])"
_USED = re.compile(rf"Used {_SIZE} of {_SIZE} hbm\. Exceeded hbm capacity by {_SIZE}")
_REQUIRED = re.compile(rf"total memory required for [^()]*\({_SIZE}\) exceeds available HBM \({_SIZE}\)")


def parse_out_of_memory(message: str) -> tuple[int, int] | None:
    """Bytes needed and available per chip, from either of the TPU compiler's two messages; None for another error.

    >>> parse_out_of_memory("Ran out of memory in memory space hbm. Used 32.50G of 15.75G hbm. "
    ...                     "Exceeded hbm capacity by 16.75G.") == (int(32.5 * GIB), int(15.75 * GIB))
    True
    """
    if used := _USED.search(message):
        available, exceeded = _bytes(*used.group(3, 4)), _bytes(*used.group(5, 6))
        return available + exceeded, available
    if required := _REQUIRED.search(message):
        return _bytes(*required.group(1, 2)), _bytes(*required.group(3, 4))
    return None


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def bytes_per_device(tree: Any) -> int:
    """Bytes that one device holds of a tree of arrays or `jax.ShapeDtypeStruct`s; without a sharding, all of a leaf.

    >>> bytes_per_device([jax.ShapeDtypeStruct((6, 2), "float32"), jax.ShapeDtypeStruct((3,), "bfloat16")])
    54
    """
    total = 0
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(leaf, "sharding", None)
        shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        total += math.prod(shape) * leaf.dtype.itemsize
    return total


def _versions() -> dict[str, str]:
    return {name: _version(name) for name in ("jax", "jaxlib", "libtpu")}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _sizes(memory: Memory) -> dict[str, int | None]:
    return {field.name: getattr(memory, field.name) for field in dataclasses.fields(memory)}


_WORDS = {
    "parameters": "parameters",
    "optimizer": "optimizer state",
    "other": "batch, other arguments",
    "results": "results not donated",
    "temporaries": "temporaries",
    "code": "code",
}


def _lines(report: AotReport):
    """The table, line by line."""
    memory, tpu = report.memory, report.slice
    hosts = f"{tpu.hosts} host{'s' * (tpu.hosts > 1)}" + (f" of {tpu.slices} slices" if tpu.slices > 1 else "")
    yield f"{tpu.name}: {tpu.chips} chips in {hosts}, {memory.hbm / GIB:.2f} GiB of HBM for programs each"
    yield _row("per chip", "GiB")
    for name, size in _sizes(memory).items():
        if name in _WORDS and size is not None:
            yield _row(f"  {_WORDS[name]}", f"{size / GIB:.2f}")
    verdict = "fits" if report.fits else f"DOES NOT FIT: {report.overrun / GIB:.2f} GiB too many"
    yield _row("  peak", f"{memory.peak / GIB:.2f}") + f"   of {memory.hbm / GIB:.2f}: {verdict}"
    if report.refusal:
        yield f"the compiler says: {report.refusal}"
    pace = f"   {report.seconds_at_mfu:.3g} s at {MFU:.0%} of {tpu.peak_flops / 1e12:.0f} TFLOP/s a chip"
    yield _row("FLOPs per step, all chips", f"{report.analytic_flops:.3e}") + pace
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"compiled in {report.compile_seconds:.0f} s by {versions}"


def _row(label: str, *cells: str) -> str:
    return f"{label:<30}" + "".join(f"{cell:>12}" for cell in cells)
