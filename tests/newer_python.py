"""Finds a Python that is newer than the one most tests run on; run as a program, it prints the path, or nothing.

`make test-next` takes it for the newest jax, which needs Python 3.12. Looked at, in this order: programs on PATH, then
what pyenv and uv have installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

VERSIONS = ("3.13", "3.12")
"""For which every library of constraints-next.txt has a build."""
_RUNS = "import ensurepip, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def candidates(path: str | None = None, home: Path | None = None) -> Iterator[str]:
    """Programs that may be one, by their names."""
    home = Path.home() if home is None else home
    for version in VERSIONS:
        if program := shutil.which(f"python{version}", path=path):
            yield program
        for folder in (".pyenv/versions", ".local/share/uv/python"):
            for found in sorted((home / folder).glob(f"*{version}.*/bin/python{version}")):
                yield str(found)


def is_usable(program: str) -> bool:
    """Whether it starts, is of one of `VERSIONS` and can make a virtual environment; pyenv's stand-ins often cannot."""
    try:
        done = subprocess.run([program, "-c", _RUNS], capture_output=True, text=True, timeout=60, env=_environment())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() in VERSIONS


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


if __name__ == "__main__":
    print(next(filter(is_usable, candidates()), ""))
