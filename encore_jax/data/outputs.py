"""Where a command writes: never over its own inputs, and over nobody else's files unless it is told to."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from encore_jax.data.atomic import atomic_path, hidden_neighbour
from encore_jax.data.digest import file_sha256
from encore_jax.data.lock import writing_lock
from encore_jax.errors import InputError


def check_outputs(outputs: Mapping[str, Path | str], inputs: Mapping[str, Path | str]) -> None:
    """Refuses outputs that are inputs, lie in an input folder, hold an input, or are one another.

    Links are followed, and other names of the same file (hard links) are found.

    Args:
      outputs: what is written, by the flag that names it, or by what it is in words.
      inputs: what is read, in the same way.

    Raises:
      InputError: naming both flags.
    """
    for (flag, output), (other, given) in itertools.product(outputs.items(), inputs.items()):
        if relation := _relation(Path(output), Path(given)):
            raise InputError(
                f"{relation} {_named(other, given)}", where=_named(flag, output), fix="name another output"
            )
    for (flag, output), (other, given) in itertools.combinations(outputs.items(), 2):
        if _same(Path(output), Path(given)):
            raise InputError(f"is also {other}", where=_named(flag, output), fix="name another output")


def _named(flag: str, path: Path | str) -> str:
    """A flag and its value, or what a path is in words."""
    return f"{flag} {path}" if " " in flag else f"{flag}={path}"


def local_inputs(values: Mapping[str, object]) -> dict[str, Path]:
    """Those of the values that are paths to something on this machine.

    >>> local_inputs({"--model": "hf://org/name", "--input": "no such file", "--scale": 3.0})
    {}
    """
    paths = {}
    for name, value in values.items():
        for i, text in enumerate(value if isinstance(value, tuple | list) else (value,)):
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                if isinstance(text, str | Path) and str(text) and Path(text).expanduser().exists():
                    paths[f"{name}[{i}]" if isinstance(value, tuple | list) else name] = Path(text).expanduser()
    return paths


def _relation(output: Path, given: Path) -> str:
    if _same(output, given):
        return "is the input"
    real_output, real_input = _real(output), _real(given)
    if real_input in real_output.parents and given.is_dir():
        return "lies in the input folder"
    return "holds the input" if real_output in real_input.parents else ""


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        if os.path.samefile(one, other):
            return True
    return _real(one) == _real(other)


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:  # a null character
        raise InputError(f"is no path: {error}", where=repr(str(path)), fix="retype it") from None


def check_new(path: Path, *, overwrite: bool, flag: str = "", made: bool = False) -> None:
    """Refuses to replace a file or a folder that is there already.

    Args:
      path: the output.
      overwrite: it may be replaced, if it is a file.
      flag: that names it.
      made: this command knows it to be its own, so that it may be replaced.

    Raises:
      InputError: it is there; or it is a folder where a file is to be, or no ordinary file.
    """
    where = f"{flag}={path}" if flag else str(path)
    if not os.path.lexists(path) or made:
        return
    if path.is_dir() and not path.is_symlink():
        raise InputError("is a folder", where=where, fix="name a file")
    if path.exists() and not path.is_file():
        raise InputError("is no ordinary file", where=where, fix="name a file")
    if not overwrite:
        raise InputError("is there already", where=where, fix="name another file, or give --overwrite to replace it")


def check_suffix(path: Path, suffixes: tuple[str, ...], flag: str, what: str) -> None:
    """Refuses a file whose name promises another format than is written.

    >>> check_suffix(Path("x.csv"), (".parquet",), "--output", "Parquet")
    Traceback (most recent call last):
    encore_jax.errors.InputError: --output=x.csv: ends in '.csv', and Parquet is written. Fix: name it x.parquet
    """
    if path.suffix.lower() not in suffixes:
        ending = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        fix = f"name it {path.with_suffix(suffixes[0]).name if path.name else 'NAME' + suffixes[0]}"
        raise InputError(f"{ending}, and {what} is written", where=f"{flag}={path}", fix=fix)


@contextlib.contextmanager
def new_file(path: Path, *, overwrite: bool, flag: str = "") -> Iterator[Path]:
    """A temporary neighbour of a command's output, which takes its place; a file that holds something else stays.

    Raises:
      InputError: as `check_new`; a file that holds the same is no reason.
    """
    with new_files({flag: path}, overwrite=overwrite) as (temporary,):
        yield temporary


@contextlib.contextmanager
def new_files(outputs: Mapping[str, Path], *, overwrite: bool) -> Iterator[list[Path]]:
    """The same for several outputs, by their flags: all of them take their places, or none."""
    with contextlib.ExitStack() as stack:
        temporaries = [stack.enter_context(atomic_path(path)) for path in outputs.values()]
        yield temporaries
        for (flag, path), temporary in zip(outputs.items(), temporaries, strict=True):
            check_new(path, overwrite=overwrite, flag=flag, made=same_content(path, temporary))


@contextlib.contextmanager
def new_folder(folder: Path, *, overwrite: bool = False, marks: tuple[str, ...] = ()) -> Iterator[Path]:
    """A temporary neighbour of a new folder, which takes its place on success.

    Args:
      folder: the new one; nobody else writes to it meanwhile.
      overwrite: replace an earlier one of the same kind; any other folder stays.
      marks: files that all folders of this kind hold; without any, none is replaced.

    Raises:
      InputError: there is something in the folder already, or another process writes to it.
    """
    with writing_lock(folder, fix="wait until it ends, or name another folder"):
        check_replaceable(folder, overwrite=overwrite, marks=marks)
        temporary, before = (hidden_neighbour(folder, f".{uuid.uuid4().hex}.tmp") for _ in range(2))
        temporary.mkdir()
        try:
            yield temporary
            check_replaceable(folder, overwrite=overwrite, marks=marks)
            if folder.is_dir() and any(folder.iterdir()):
                os.replace(folder, before)
            os.replace(temporary, folder)
        finally:
            if before.exists() and not folder.exists():  # the second step failed
                os.replace(before, folder)
            for left in (temporary, before):
                shutil.rmtree(left, ignore_errors=True)


def check_replaceable(folder: Path, *, overwrite: bool, marks: tuple[str, ...]) -> None:
    """Refuses a folder that `new_folder` would not replace.

    Raises:
      InputError: there is something in it.
    """
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    ours = bool(marks) and all((folder / mark).is_file() for mark in marks)
    if folder.is_symlink() or not folder.is_dir() or not ours:
        raise InputError("is in use", where=str(folder), fix="name a new folder, or empty this one")
    if not overwrite:
        fix = "name a new folder, or give --overwrite to replace it"
        raise InputError("is there already", where=str(folder), fix=fix)


def same_content(path: Path, other: Path) -> bool:
    """Whether both are files that hold the same."""
    return path.is_file() and other.is_file() and file_sha256(path) == file_sha256(other)


def in_the_way(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the names that are there in a folder, empty folders left out."""
    there = []
    for name in names:
        path = folder / name
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            there.append(name)
    return there
