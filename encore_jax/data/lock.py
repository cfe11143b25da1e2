"""One process at a time in a work directory or at an output: a lock that ends with its process, however that ends.

The lock is the kernel's (`flock`), so a killed process leaves none behind. The file that carries it also says who holds
it, for the message that others get. A lock file that is a link, a folder, a pipe, or somebody's own file is refused and
never written to.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import fcntl
import json
import logging
import os
import re
import shlex
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from encore_jax.data.atomic import hidden_neighbour, make_folder
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape

LOCK = ".lock"
_KEPT: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar("kept outputs", default=frozenset())
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not make the opening wait
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_KINDS = {errno.ELOOP: "is a link", errno.EISDIR: "is a folder", errno.ENXIO: "is no ordinary file"}
_LONGEST_COMMAND = 200
_SECRET = re.compile(r"((?:key|token|secret|password)[\w.-]*[= ])\S+", re.IGNORECASE)


_WAIT = "wait until it ends, or "
"""How a fix for a folder in use begins; it helps nobody whose folder cannot be written to."""


@contextlib.contextmanager
def folder_lock(folder: str | Path, *, fix: str = "", wait: bool = False) -> Iterator[int]:
    """Keeps a folder for this process; makes it if it is not there. The lock file ``.lock`` in it stays, empty.

    Args:
      folder: that this process writes to.
      fix: what a user can do who finds it in use; by default to wait or to choose another folder.
      wait: wait for the other process, instead of refusing.

    Yields:
      A descriptor; child processes that inherit it (``pass_fds``) hold the lock as well, until all of them end.

    Raises:
      InputError: another process holds it, it cannot be written to, or ``.lock`` in it is not a lock file.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with folder_lock(folder):
    ...     with folder_lock(folder):  # doctest: +ELLIPSIS
    ...         pass
    Traceback (most recent call last):
    encore_jax.errors.InputError: ...: is in use by process ... Fix: wait until it ends, or choose another folder
    """
    folder = make_folder(Path(folder), fix=fix.removeprefix(_WAIT) or "choose another folder")
    with file_lock(folder / LOCK, place=folder, fix=fix, wait=wait) as descriptor:
        yield descriptor


@contextlib.contextmanager
def output_lock(path: str | Path, *, fix: str = "", wait: bool = False) -> Iterator[int]:
    """Keeps an output, a file or a folder that appears as a whole, for this process; see `folder_lock`.

    The lock file is a hidden neighbour of ``path``, and is removed in the end.
    """
    path = Path(path)
    make_folder(path.parent, fix=fix.removeprefix(_WAIT) or "choose another output")
    lock = hidden_neighbour(path, LOCK)
    with file_lock(lock, place=path, fix=fix, wait=wait, remove=True) as descriptor:
        yield descriptor


@contextlib.contextmanager
def kept_output(path: str | Path, *, fix: str = "") -> Iterator[None]:
    """`output_lock` over everything that leads to an output, whose writer (`writing_lock`) finds it locked already.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "model")
    >>> with kept_output(path), writing_lock(path):
    ...     pass
    """
    with output_lock(path, fix=fix):
        token = _KEPT.set(_KEPT.get() | {Path(path).absolute()})
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextlib.contextmanager
def writing_lock(path: str | Path, *, fix: str = "") -> Iterator[None]:
    """`output_lock`, unless whoever calls keeps the output (`kept_output`)."""
    if Path(path).absolute() in _KEPT.get():
        yield
        return
    with output_lock(path, fix=fix):
        yield


def journal_lock(path: str | Path) -> Path:
    """The lock file of a journal, which stays beside it."""
    return Path(path).with_name(f"{Path(path).name}.lock")


@contextlib.contextmanager
def kept_journal(path: str | Path, *, fix: str = "") -> Iterator[None]:
    """Keeps a journal for this process over everything that leads to it; who opens it (`open_lock`) finds it kept."""
    make_folder(Path(path).parent, fix=fix.removeprefix(_WAIT))
    with file_lock(journal_lock(path), place=path, fix=fix):
        token = _KEPT.set(_KEPT.get() | {Path(path).absolute()})
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextlib.contextmanager
def open_lock(path: str | Path, *, fix: str = "") -> Iterator[None]:
    """A journal's lock while it is open, unless whoever calls keeps it (`kept_journal`)."""
    if Path(path).absolute() in _KEPT.get():
        yield
        return
    with file_lock(journal_lock(path), place=path, fix=fix):
        yield


@contextlib.contextmanager
def file_lock(
    lock: str | Path, *, place: str | Path, fix: str = "", wait: bool = False, remove: bool = False
) -> Iterator[int]:
    """Holds the lock that this file carries; see `folder_lock`.

    Args:
      lock: the lock file; made if it is not there.
      place: what it stands for, as messages name it.
      fix: what a user can do who finds it in use.
      wait: wait for the other process, instead of refusing.
      remove: take the file away in the end.
    """
    lock, place = Path(lock), str(place)
    descriptor = _acquired(lock, place, fix or "wait until it ends, or choose another folder", wait)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # another user's file, or a folder that was removed
            if remove and _is_at(descriptor, lock):
                lock.unlink()
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


@contextlib.contextmanager
def reader_lock(folder: str | Path, *, fix: str = "") -> Iterator[None]:
    """Keeps writers out of a folder while this process reads it; other readers may share it.

    Nothing is written: a folder that has no lock file yet, or is of a read-only medium, is read without.

    Args:
      folder: that is read.
      fix: what a user can do who finds it in use.

    Raises:
      InputError: another process writes to it.
    """
    with shared_lock(Path(folder) / LOCK, place=folder, fix=fix):
        yield


@contextlib.contextmanager
def shared_lock(lock: str | Path, *, place: str | Path, fix: str = "") -> Iterator[None]:
    """The same by the lock file itself; see `file_lock`."""
    lock = Path(lock)
    try:
        descriptor = os.open(lock, os.O_RDONLY | _OPEN)
    except (OSError, ValueError):  # whoever reads the folder says what is wrong with its name
        yield
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            _take(descriptor, lock, str(place), fix or "wait until it ends", wait=False, shared=True)
        yield
    finally:
        os.close(descriptor)


def _acquired(lock: Path, place: str, fix: str, wait: bool) -> int:
    """A descriptor that holds the lock."""
    while True:
        descriptor = _opened(lock)
        try:
            _take(descriptor, lock, place, fix, wait=wait)
            if _is_at(descriptor, lock):  # else its last owner has removed the file meanwhile
                _write_owner(descriptor, lock)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(lock: Path) -> int:
    """A descriptor of the lock file, which is an ordinary file without other names."""
    try:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _OPEN, 0o666)
        except PermissionError:  # another user's, left by a kill: it can be locked, not written to
            try:
                descriptor = os.open(lock, os.O_RDONLY | _OPEN)
            except FileNotFoundError:
                raise PermissionError(errno.EACCES, "Permission denied") from None
    except OSError as error:
        if error.errno in _KINDS:
            raise _no_lock(lock, _KINDS[error.errno]) from None
        problem = f"cannot be written to: {error.strerror or error}"
        raise InputError(problem, where=str(lock.parent), fix="choose a folder that can be written to") from None
    except ValueError as error:  # a null byte, half a surrogate pair
        raise InputError(f"is no name of a file: {error}", where=repr(str(lock)), fix="choose another name") from None
    about = os.fstat(descriptor)
    wrong = "is no ordinary file" if not stat.S_ISREG(about.st_mode) else ""
    wrong = wrong or ("is a hard link: it has other names" if about.st_nlink > 1 else "")
    wrong = wrong or (
        "is no lock file: it holds something else" if about.st_size and _owner(descriptor) is None else ""
    )
    if wrong:
        os.close(descriptor)
        raise _no_lock(lock, wrong)
    return descriptor


def _no_lock(lock: Path, problem: str) -> InputError:
    return InputError(f"{problem}; a lock file belongs here", where=str(lock), fix="move it away")


def _take(descriptor: int, lock: Path, place: str, fix: str, *, wait: bool, shared: bool = False) -> None:
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(_owner(descriptor))
        if not wait:
            raise InputError(f"is in use by {holder}", where=place, fix=fix) from None
        logging.getLogger(__name__).warning("%s: waiting for %s", place, holder)
        fcntl.flock(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_LOCKS and error.errno != errno.EBADF:
            raise InputError(f"cannot be locked: {error.strerror}", where=str(lock), fix="use another disk") from None
        _take_by_name(_owner(descriptor), lock, place)


def _take_by_name(owner: dict | None, lock: Path, place: str) -> None:
    """Where the file system has no locks, what the file says decides."""
    if owner and not (owner["host"] == socket.gethostname() and not _is_alive(owner["pid"])):
        fix = f"wait until it ends; if it has ended, delete {lock}"
        raise InputError(f"is in use by {_holder(owner)}", where=place, fix=fix)
    logging.getLogger(__name__).warning(
        "%s: this file system has no locks; only the file %s keeps others out", place, lock
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_at(descriptor: int, lock: Path) -> bool:
    """Whether the path still leads to this file."""
    try:
        there = os.stat(lock, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _write_owner(descriptor: int, lock: Path) -> None:
    """Says in the file who holds it; that it cannot be said (disk full, read-only) changes nothing."""
    before = _owner(descriptor)
    if before and before["host"] != socket.gethostname():
        logging.getLogger(__name__).warning(
            "%s was left by %s; on a disk that hosts share without locks, make sure that it has ended",
            lock, _holder(before),
        )  # fmt: skip
    command = _SECRET.sub(r"\1...", shlex.join(sys.orig_argv or sys.argv))[:_LONGEST_COMMAND]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _owner(descriptor: int) -> dict | None:
    """What a lock file says of its holder; None if it says nothing."""
    try:
        value = json.loads(os.pread(descriptor, 4096, 0))
        owner = check_shape(value, dict[str, int | str], where="lock")
    except (OSError, ValueError, RecursionError):
        return None
    kinds = {"pid": int, "host": str, "command": str, "since": str}
    return owner if all(isinstance(owner.get(name), kind) for name, kind in kinds.items()) else None


def _holder(owner: dict | None) -> str:
    if owner is None:
        return "another process, or one that an ended process left behind"
    gone = owner["host"] == socket.gethostname() and not _is_alive(owner["pid"])
    what = "a process left by" if gone else "process"
    return f"{what} {owner['pid']} on {owner['host']} since {owner['since']} ({owner['command']!r})"
