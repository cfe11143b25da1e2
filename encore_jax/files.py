"""Files that somebody else wrote, opened so that whatever is wrong with them ends in one line."""

from __future__ import annotations

import contextlib
import difflib
import errno
import itertools
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from encore_jax.errors import InputError

_ENDINGS = (
    ".jsonl", ".json", ".parquet", ".pq", ".csv", ".tsv", ".xlsx", ".xls", ".ods", ".gz", ".npz", ".yaml", ".yml",
    ".npy", ".py", ".md", ".txt", ".html", ".gguf", ".safetensors", ".db", ".sqlite",
)  # fmt: skip
"""How files are called that commands read or write; no flag ends so."""


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
        fix = did_you_mean_file(path, fix or "correct the path")
        raise InputError(why_missing(path, "is missing"), where=str(path), fix=fix) from None
    except OSError as error:
        problem = "it is no regular file" if error.errno == errno.ENXIO else error.strerror or str(error)  # a socket
    except ValueError as error:  # a null character in the path
        problem = str(error)
    raise InputError(f"cannot be read: {problem}", where=str(path), fix=fix)


def why_missing(path: str | Path, otherwise: str) -> str:
    """What is wrong with a path where nothing is found: a link to nothing, a loop of links, a folder that is closed.

    Args:
      path: where nothing is found.
      otherwise: what is said where nothing lies there at all.

    >>> why_missing("nowhere.csv", "no such file")
    'no such file'
    """
    try:
        os.stat(Path(path).expanduser())
    except (FileNotFoundError, NotADirectoryError):
        return "is a link to nothing" if os.path.islink(path) else otherwise
    except OSError as error:
        return f"cannot be read: {error.strerror}" if error.errno in (errno.ELOOP, errno.EACCES) else otherwise
    except (ValueError, RuntimeError):
        return otherwise
    return otherwise


def check_file_words(words: Iterable[str]) -> None:
    """Refuses words of a command line that name a file and cannot be taken for one.

    Raises:
      InputError: a file's name begins with a dash, as flags do; or ends in a slash, as folders do.

    >>> check_file_words(["pairs.jsonl", "--out=-x.html", "-x.csv"])
    Traceback (most recent call last):
    encore_jax.errors.InputError: -x.csv: begins with a dash, as flags do. Fix: if it is a file, write ./-x.csv
    """
    for word in itertools.takewhile(lambda word: word != "--", words):
        if word.startswith("-") and "=" not in word and (word.lower().endswith(_ENDINGS) or _is_there(word)):
            raise InputError("begins with a dash, as flags do", where=word, fix=f"if it is a file, write ./{word}")
        value = word.partition("=")[2] if word.startswith("-") else word
        if value.endswith("/") and os.path.isfile(value.rstrip("/")):
            fix = f"write {value.rstrip('/')}"
            raise InputError("is a file, and its name ends in a slash, as folders' do", where=word, fix=fix)


def _is_there(word: str) -> bool:
    """Whether something other than "-" has this name in the folder at hand."""
    with contextlib.suppress(OSError, ValueError):
        return len(word) > 1 and os.path.lexists(word)
    return False


def did_you_mean_file(path: str | Path, otherwise: str) -> str:
    """What to do about a path where nothing is: the file or folder beside it whose name is nearly the same.

    Args:
      path: where nothing is.
      otherwise: what is said where nothing near lies beside it.
    """
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = Path(path).expanduser()
        beside = [name for name in os.listdir(path.parent) if not name.startswith(".") and name != path.name]
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
