"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from encore_jax.errors import InputError

LONGEST_NAME = 150
"""Bytes of a file's name that its hidden neighbours repeat: file systems allow 255 in all."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary neighbour of ``path`` to write to; it takes the place of ``path`` on success.

    Missing parent folders are made. On an exception the temporary file is removed and whatever was
    at ``path`` stays as it was. Several processes may do this at once: the last one to finish wins.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "note.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_neighbour(path, f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path, *, fix: str = "choose another folder") -> Path:
    """Makes a folder and its parents where they are missing; returns it.

    Raises:
      InputError: a file is in the way, the name cannot be, or the place cannot be written to.
    """
    with _folder_errors(folder, fix):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def check_makeable(folder: Path, *, fix: str = "choose another folder") -> None:
    """Refuses, in the words of `make_folder`, what that could not make; makes nothing.

    Raises:
      InputError: as `make_folder`.

    >>> check_makeable(Path("/dev/null/run"))
    Traceback (most recent call last):
    encore_jax.errors.InputError: /dev/null/run: a file is in the way of this folder. Fix: choose another folder
    """
    with _folder_errors(folder, fix):
        there = Path(folder)
        while not os.path.lexists(_looked_at(there)) and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise FileExistsError
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _looked_at(path: Path) -> Path:
    """The same path; raises OSError or ValueError for a name that no file can have, or a loop of links."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.stat(path)
    return path


@contextlib.contextmanager
def _folder_errors(folder: Path, fix: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise InputError("a file is in the way of this folder", where=str(folder), fix=fix) from None
    except OSError as error:
        raise InputError(f"cannot be written to: {error.strerror or error}", where=str(folder), fix=fix) from None
    except ValueError as error:  # a null byte, half a surrogate pair
        raise InputError(f"is no name of a folder: {error}", where=repr(str(folder)), fix=fix) from None


def hidden_neighbour(path: Path, suffix: str) -> Path:
    """A hidden file beside ``path`` that is named after it, also where that name is as long as names may be.

    >>> hidden_neighbour(Path("runs/scores.parquet"), ".lock").as_posix()
    'runs/.scores.parquet.lock'
    """
    name = path.name
    if len(name.encode(errors="surrogateescape")) > LONGEST_NAME:
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]
        name = name.encode(errors="surrogateescape")[: LONGEST_NAME - 17].decode(errors="ignore") + "-" + digest
    return path.with_name(f".{name}{suffix}")
