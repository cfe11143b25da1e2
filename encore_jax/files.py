"""Files that somebody else wrote, opened so that whatever is wrong with them ends in one line."""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from encore_jax.errors import InputError


def open_file(path: str | Path, *, fix: str = "") -> BinaryIO:
    """A regular file, open for reading; links are followed, and nothing is ever waited for.

    Raises:
      InputError: it is missing, not readable, or no regular file (a folder, a pipe, a device).
    """
    try:
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(open(path, "rb", opener=_without_waiting))
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                opened.pop_all()
                return file
        problem = "it is no regular file"
    except FileNotFoundError:
        raise InputError("is missing", where=str(path), fix=fix) from None
    except OSError as error:
        problem = error.strerror or str(error)
    except ValueError as error:  # a null character in the path
        problem = str(error)
    raise InputError(f"cannot be read: {problem}", where=str(path), fix=fix)


def did_you_mean_file(path: str | Path, otherwise: str) -> str:
    """What to do about a path where nothing is: the file or folder beside it whose name is nearly the same.

    Args:
      path: where nothing is.
      otherwise: what is said where nothing near lies beside it.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = Path(path).expanduser()
        beside = [name for name in os.listdir(path.parent) if not name.startswith(".")]
        if near := difflib.get_close_matches(path.name, beside, 1, 0.75):
            return f"did you mean {path.with_name(near[0])}?"
    return otherwise


def require_regular_files(folder: str | Path, *, fix: str = "") -> None:
    """For a folder that a library will read, which would wait for ever on a pipe in it; links are followed.

    Raises:
      InputError: something in it is neither a file nor a folder, or cannot be looked at; a link to nothing is neither.
    """
    for inside, _, names in os.walk(folder):
        for path in (os.path.join(inside, name) for name in names):
            try:
                regular = stat.S_ISREG(os.stat(path).st_mode)
            except FileNotFoundError:
                regular = not os.path.islink(path)  # deleted by another process meanwhile, or a link to nothing
            except OSError as error:
                raise InputError(f"cannot be read: {error.strerror or error}", where=path, fix=fix) from None
            if not regular:
                raise InputError("cannot be read: it is no regular file", where=path, fix=fix)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe that nobody writes to at once, where a plain open would wait for ever."""
    return os.open(path, flags | os.O_NONBLOCK)
