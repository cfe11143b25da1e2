"""Where tests keep the programs that XLA has compiled, so that no process and no later run compiles them again.

Compiling is about half of the tests' time. jax's key of a program holds all that it depends on but for the processor,
which is in the folder's name here.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

MOST_BYTES = 1 << 30
"""A folder that has grown beyond is deleted at the beginning of a run; a whole run writes about 80 MB."""


def processor() -> str:
    """A short name of this processor and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}) or lines[:1]
    return f"{platform.machine()}-{hashlib.sha256(' '.join(told).encode()).hexdigest()[:12]}"


def folder(environment: Mapping[str, str]) -> Path:
    """For this processor, in the user's cache."""
    caches = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "encore_jax" / "test-programs" / processor()


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What tells jax of the folder, here and in processes that start here; nothing if another one is named already."""
    if "JAX_COMPILATION_CACHE_DIR" in environment:
        return {}
    kept = folder(environment)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        if sum(path.stat().st_size for path in kept.iterdir()) > MOST_BYTES:
            shutil.rmtree(kept)
            kept.mkdir()
    except OSError:  # nowhere to write, or another run is deleting it
        return {}
    return {"JAX_COMPILATION_CACHE_DIR": str(kept), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


if __name__ == "__main__":
    print(folder(os.environ))
