"""What is fuzzed: files that a loader reads, how they are damaged, and the loader."""

from __future__ import annotations

import dataclasses
import os
import random
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from encore_jax.errors import InputError
from tests.fuzz.mutate_bytes import mutate_bytes

Mutate = Callable[[bytes, random.Random], bytes]


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
      make: writes valid files into an empty folder.
      files: which of them are damaged, and how.
      load: reads them as the commands do.
      weight: how often, beside the others.
    """

    make: Callable[[Path], None]
    files: Mapping[str, Mutate]
    load: Callable[[Path], object]
    weight: int = 1


def each(*loaders: Callable[[], object]) -> list[object]:
    """Calls all; raises what is worst: anything rather than an `InputError`."""
    results, refusals = [], []
    for loader in loaders:
        try:
            results.append(loader())
        except InputError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    return results


def damage(folder: Path, target: Target, rng: random.Random) -> str:
    """Damages one file in the folder; says which and how."""
    name = rng.choice(list(target.files))
    path = folder / name
    if rng.random() < 0.02:
        return f"{name}: {_another_kind(path, rng)}"
    content = path.read_bytes()
    mutate = target.files[name] if rng.random() < 0.93 else mutate_bytes
    changed = mutate(content, rng)
    path.unlink()
    path.write_bytes(changed)
    return f"{name}: {getattr(mutate, '__name__', 'mutation')}, {len(content)} to {len(changed)} bytes"


def _another_kind(path: Path, rng: random.Random) -> str:
    kind = rng.choice(("missing", "folder", "pipe", "zeros", "itself", "dangling", "socket", "hole"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "itself":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to("/nowhere")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's whole path would be too long
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    elif kind == "hole":
        with path.open("wb") as file:
            file.truncate(5 << 30)
    return kind
