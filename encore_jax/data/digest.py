"""SHA-256 of files, of large ones only once as long as they are not touched; which were read, to check them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.files import open_file

SMALL = 4 << 20
"""Bytes up to which a file is always read: its times tell too little of two changes within one tick of the clock."""
_known: dict[str, tuple[tuple[int, ...], str]] = {}
_recordings: list[dict[str, str]] = []


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal, read in pieces.

    A large file that has the same inode, size and times as when this process read it last is not read again.

    Raises:
      InputError: it is missing, not readable, or no regular file.
    """
    key = os.path.abspath(path)
    with open_file(path) as file:
        before = _signature(file.fileno())
        signature, digest = _known.get(key, ((), ""))
        if signature != before:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            _known.pop(key, None)
            if before == _signature(file.fileno()) and os.fstat(file.fileno()).st_size > SMALL:
                _known[key] = before, digest
    note({key: digest})
    return digest


def folder_sha256(folder: str | Path) -> str:
    """One hash over the names and contents of all files of a folder, hidden ones left out."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    lines = [f"{path.relative_to(folder).as_posix()}:{file_sha256(path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def recording() -> Iterator[dict[str, str]]:
    """Notes every file that is hashed meanwhile, by its path, with its hash."""
    files: dict[str, str] = {}
    _recordings.append(files)
    try:
        yield files
    finally:
        del _recordings[[id(one) for one in _recordings].index(id(files))]


def note(files: Mapping[str, str]) -> None:
    """Adds files that were hashed before to the recordings under way."""
    for one in _recordings:
        one.update(files)


def changed(files: Mapping[str, str]) -> list[str]:
    """Those of the files that hold something else by now, or are gone."""
    return [path for path, digest in files.items() if _now(path) != digest]


def _now(path: str) -> str:
    try:
        return file_sha256(path)
    except InputError:
        return ""


def _signature(descriptor: int) -> tuple[int, ...]:
    at = os.fstat(descriptor)
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
