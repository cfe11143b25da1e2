"""Finished stages of one run, lent to another: a cell that only composes scores differently does not train again.

A stage runs only if what it depends on has changed, which its manifest says by hashes. So the finished stages of a
similar run are put into a cell's folder before it runs, and the run itself decides which of them are its own; the
others it empties and makes. Files are hard links where the file system has them: a stage replaces its files and never
writes into them, so the run that lends them keeps what it has.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from encore_jax.data.lock import LOCK, reader_lock
from encore_jax.data.manifest import MANIFEST, read_manifest
from encore_jax.errors import InputError

LATE = ("compose.", "evaluate.")
"""Groups of fields that only stages after training and scoring read."""


def most_similar(overrides: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> str | None:
    """The name whose overrides have most in common with these, above all in what is trained; None of none.

    >>> others = {"a": {"seed": "0", "compose.tau": "2"}, "b": {"seed": "1", "compose.tau": "1"}}
    >>> most_similar({"seed": "0", "compose.tau": "1"}, others), most_similar({}, {})
    ('a', None)
    """

    def common(name: str) -> tuple[int, int]:
        equal = [field for field, value in overrides.items() if others[name].get(field) == value]
        late = sum(field.startswith(LATE) for field in equal)
        return len(equal) - late, late

    return max(others, key=common, default=None)


def lend_stages(source: Path, folder: Path) -> list[str]:
    """Puts the finished stages of a run into a folder that lacks them.

    Args:
      source: a run's work directory.
      folder: another's.

    Returns:
      The names of the stages that were put there: none if the source is no run's, or is being written to.
    """
    names = []
    with contextlib.suppress(InputError, OSError), reader_lock(source):
        for stage in _finished(source):
            if not (folder / stage.name).exists():
                _link(stage, folder)
                names.append(stage.name)
    return names


def _finished(source: Path) -> Iterable[Path]:
    for manifest in sorted(source.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(InputError):
            read_manifest(manifest.parent)
            yield manifest.parent


def _link(stage: Path, folder: Path) -> None:
    """Appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{stage.name}.lent"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(stage, temporary, copy_function=_file, ignore=shutil.ignore_patterns(LOCK, ".*.tmp"))
    temporary.rename(folder / stage.name)


def _file(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
