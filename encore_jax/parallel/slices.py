"""TPU slices by name: how many chips, how much memory, and a description that XLA compiles for without any TPU.

Numbers per chip, and where they come from:

| generation | bf16 peak | HBM on the data sheet | HBM for programs |
|---|---|---|---|
| v4 | 275 TFLOP/s | 32 GiB | 30.75 GiB |
| v5e | 197 TFLOP/s | 16 GB | 15.75 GiB |
| v5p | 459 TFLOP/s | 95 GB | 95.74 GiB |
| v6e | 918 TFLOP/s | 32 GB | 31.25 GiB |

Peaks, data sheets and slice shapes: cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e. The last column is what the TPU
compiler (libtpu 0.0.42) has left after its own reservation; it says so whenever a program does not fit.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from encore_jax.errors import InputError

_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class _Generation:
    peak_flops: float
    hbm_bytes: int
    shapes: tuple[str, ...]


_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
GENERATIONS = {
    "v4": _Generation(275e12, 31485 * _MIB, _CUBES),
    "v5e": _Generation(197e12, 16126 * _MIB, _FLAT),
    "v5p": _Generation(459e12, 98041 * _MIB, _CUBES),
    "v6e": _Generation(918e12, 31996 * _MIB, _FLAT),
}

ALIASES = {"v5litepod": "v5e"}
"""Other names of generations."""
CORES = {"v4": 2, "v5p": 2}
"""What the cloud's own sizes count: cores, of which these chips have two."""

_QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",  # do not ask a cloud's metadata server
    "TPU_WORKER_HOSTNAMES": "localhost",  # nor complain that it said nothing
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",  # several compilations at once disturb nobody: there is no chip
}


@dataclasses.dataclass(frozen=True)
class TpuSlice:
    """A slice that can be rented, or several equal ones, which the data-centre network joins (multislice).

    Attributes:
      generation: "v4", "v5e", "v5p" or "v6e".
      topology: chips along each axis, e.g. "8x8".
      hbm_bytes: per chip, as a program may use it.
      peak_flops: bf16 FLOP/s per chip.
      slices: how many there are.

    >>> parse_slice("v5p:16")
    TpuSlice(generation='v5p', topology='2x2x4', hbm_bytes=102803439616, peak_flops=459000000000000.0, slices=1)
    """

    generation: str
    topology: str
    hbm_bytes: int
    peak_flops: float
    slices: int = 1

    @property
    def name(self) -> str:
        """As `parse_slice` reads it.

        >>> parse_slice("v6e:16").name, parse_slice("2xv5e:64").name
        ('v6e:4x4', '2xv5e:8x8')
        """
        return self.one_name if self.slices == 1 else f"{self.slices}x{self.one_name}"

    @property
    def one_name(self) -> str:
        """The name of one of them."""
        return f"{self.generation}:{self.topology}"

    @property
    def chips(self) -> int:
        """Chips in all slices, one JAX device each."""
        return self.slices * math.prod(map(int, self.topology.split("x")))

    @property
    def host_bounds(self) -> tuple[int, int, int]:
        """Chips of one host along each axis: 2x2, or all up to eight of a small flat slice."""
        if self.topology in ("1x1", "2x4"):
            across, along = map(int, self.topology.split("x"))
            return across, along, 1
        return 2, 2, 1

    @property
    def chips_per_host(self) -> int:
        """Chips that one process drives.

        >>> [parse_slice(name).chips_per_host for name in ("v5e:1x1", "v5e:2x4", "v5e:8x8", "v4:16")]
        [1, 8, 4, 4]
        """
        return math.prod(self.host_bounds)

    @property
    def hosts(self) -> int:
        """Processes that the slices run."""
        return self.chips // self.chips_per_host


def standard_slices(generation: str) -> tuple[TpuSlice, ...]:
    """All slices of one generation, the smallest first.

    Raises:
      InputError: unknown generation.

    >>> [s.topology for s in standard_slices("v5e")]
    ['1x1', '2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16']
    """
    generation = ALIASES.get(generation, generation)
    if generation not in GENERATIONS:
        raise InputError(f"{generation!r} is unknown", where="TPU generation", fix=f"use one of {list(GENERATIONS)}")
    of = GENERATIONS[generation]
    return tuple(TpuSlice(generation, shape, of.hbm_bytes, of.peak_flops) for shape in of.shapes)


def parse_slice(name: str) -> TpuSlice:
    """Reads "generation:topology", "generation:chips", or the cloud's own "type-size"; with "2x" before it two slices.

    Chips are chips: what a cloud sells as v4-32 and v5p-32 (TensorCores, two per chip) is "v4:16" and "v5p:16".

    Raises:
      InputError: no such slice; lists those of the generation.

    >>> parse_slice("v5e:8x8").chips, parse_slice("v4:2x2x4") == parse_slice("v4:16") == parse_slice("v4-32")
    (64, True)
    >>> parse_slice("v5litepod-64") == parse_slice("v5e:64")
    True
    >>> parse_slice("2xv5e:8x8").chips
    128
    """
    if several := re.fullmatch(r"([1-9]\d{0,3})x([a-z].*)", name):
        return dataclasses.replace(parse_slice(several[2]), slices=int(several[1]))
    sold = re.fullmatch(r"(\w+)-(\w*)", name)
    generation, size = sold.groups() if sold else name.partition(":")[::2]
    known = standard_slices(generation)
    cores = CORES.get(known[0].generation, 1) if sold else 1
    for one in known:
        if size in (one.topology, str(one.chips * cores)):
            return one
    listed = ", ".join(f"{one.topology} ({one.chips})" for one in known)
    problem = f"{size!r} is no {known[0].generation} slice"
    raise InputError(problem, where=f"TPU slice {name}", fix=f"{known[0].generation}:topology (or chips): {listed}")


def topology(tpu: TpuSlice) -> topologies.TopologyDescription:
    """The slice as XLA sees it: `.devices` for a mesh, one device per chip, nothing attached.

    Sets a few environment variables of libtpu that are not set yet, and turns jax's compilation cache off (what is
    compiled for a described slice cannot be read back from it). So call it only in a process that will not use real
    TPUs.

    Raises:
      InputError: libtpu is not installed, or another process holds it.
    """
    if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        raise InputError("the TPU compiler (libtpu) is not installed", where=tpu.name, fix="pip install -e '.[aot]'")
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_enable_compilation_cache", False)
    options = {"chips_per_host_bounds": tpu.host_bounds} | ({"num_slices": tpu.slices} if tpu.slices > 1 else {})
    if tpu.generation in ("v4", "v5p"):
        options["chip_config_name"] = "megacore"  # the two cores of a chip are one device
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=tpu.one_name, **options)
    except jax.errors.JaxRuntimeError as error:
        if "lockfile" not in str(error):
            raise
        raise InputError(
            "another process holds libtpu (/tmp/libtpu_lockfile)",
            where=tpu.name,
            fix="wait for it to end, or set ALLOW_MULTIPLE_LIBTPU_LOAD=true when no TPU is attached to this machine",
        ) from error
