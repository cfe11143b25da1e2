"""What this machine has for encore_jax, and what is missing.

    encore doctor

Looks at Python, jax and its devices, processors, memory, disk, the cache and the optional parts. It downloads nothing
and writes nothing. Exit status 1 if something that every run needs is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from encore_jax import __version__
from encore_jax.command_line import EXTRAS, Parser, run_command
from encore_jax.data.wheels import cache_folder

OLDEST = (3, 11)
CORE = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "transformers", "grain", "pyarrow")
WHAT_FOR = {"judge": "servers that judge", "serve": "encore serve", "aot": "--aot", "llama": "a llama.cpp judge",
            "tpu": "TPUs", "bench": "benchmarks beside torch"}  # fmt: skip
OF_SERVE = {"uvicorn": "serve"}
DISK_GIB, MEMORY_GIB = 2.0, 6.0
"""What the quickstart takes."""


class Finding(NamedTuple):
    """One line.

    Attributes:
      what: is looked at.
      found: in words.
      fix: what to do; "" where nothing has to be done.
      needed: every run needs it.
    """

    what: str
    found: str
    fix: str = ""
    needed: bool = False


def main() -> int:
    """Prints what was found; returns the exit status."""
    findings = list(look())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "ok" if not finding.fix else "MISSING" if finding.needed else "-"
        fix = f"  Fix: {finding.fix}" if finding.fix else ""
        print(f"{mark:<8}{finding.what:<{width}}  {finding.found}{fix}")
    return int(any(finding.fix and finding.needed for finding in findings))


def look() -> Iterator[Finding]:
    """All findings."""
    yield Finding("encore_jax", f"{__version__} in {Path(__file__).parents[1]}")
    old = sys.version_info < OLDEST
    yield Finding("python", platform.python_version(), "install Python 3.11 or newer" if old else "", needed=True)
    for name in CORE:
        yield _package(name)
    yield from _devices()
    yield from _machine()
    yield from _cache()
    yield from _extras()


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name), needed=True)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "pip install -e . in a clone of encore_jax", needed=True)


def _devices() -> Iterator[Finding]:
    if importlib.util.find_spec("jax") is None:
        return
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        fix = "unset JAX_PLATFORMS, or install jax for this device"
        yield Finding("devices", str(error).partition("\n")[0], fix, needed=True)
        return
    kinds = sorted({f"{device.platform} ({device.device_kind})" for device in devices})
    yield Finding("devices", f"{len(devices)} x {', '.join(kinds)}")
    if all(device.platform == "cpu" for device in devices):
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if flags and "avx512_bf16" not in flags and "amx_bf16" not in flags:
            yield Finding("bfloat16", "no instructions of this processor; the quickstart takes about 13 minutes")


def _machine() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processors", f"{usable} of {os.cpu_count()} usable")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        small = f"the quickstart takes {MEMORY_GIB:g} GiB; lower --config.model.tokens_per_batch"
        yield Finding("memory", f"{gib:.1f} GiB", small if gib < MEMORY_GIB else "")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    fix = "" if free >= DISK_GIB else f"make room: the quickstart takes {DISK_GIB:g} GiB"
    yield Finding("disk", f"{free:.1f} GiB free in {Path.cwd()}", fix)


def _cache() -> Iterator[Finding]:
    folder = cache_folder()
    there = folder.exists()
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20 if there else 0.0
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    fix = "" if os.access(nearest, os.W_OK) else "set ENCORE_CACHE to a folder that can be written"
    yield Finding("cache", f"{folder}: {size:.0f} MiB" if there else f"{folder}: not made yet", fix, needed=True)


def _extras() -> Iterator[Finding]:
    modules = {extra: [name for name, of in EXTRAS.items() if of == extra] for extra in EXTRAS.values()}
    modules |= {extra: [name] for name, extra in OF_SERVE.items()}
    for extra, names in modules.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        found = f"{', '.join(missing)} not installed; only for {WHAT_FOR[extra]}" if missing else "installed"
        yield Finding(f"extra {extra}", found, f"pip install -e '.[{extra}]'" if missing else "")


def parse() -> argparse.Namespace:
    """The command line, which has no flags but ``--help``."""
    parser = Parser(prog="encore doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser.parse_args()


if __name__ == "__main__":
    run_command(parse, lambda _: main(), logs=False)
