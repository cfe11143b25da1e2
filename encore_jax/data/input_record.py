"""Which inputs a command made a page of: written into the page, so that the same command may make it again.

An input is the same if it lies where it lay, whatever it holds by now, or if it holds what it held, wherever it lies. A
work directory knows its own run's inputs in the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from encore_jax.data.digest import file_sha256

NAME = "encore_jax-inputs"
"""Of the page's meta element that says it."""
_SHOWN = 32
"""Hexadecimal digits of a hash."""
_MOST_BYTES = 1 << 16
"""Of a page, within which the element stands."""
_ELEMENT = re.compile(rf'<meta name="{NAME}" content="([^"]*)">')


def input_record(inputs: Mapping[str, Path]) -> str:
    """What to write into a page: of every input, by its name, a hash of its place and one of what it holds.

    Args:
      inputs: files, by the flags that name them.

    Raises:
      InputError: one of them cannot be read.
    """
    places = {name: hashlib.sha256(str(path.resolve()).encode()).hexdigest() for name, path in inputs.items()}
    return " ".join(f"{name}={places[name][:_SHOWN]}:{file_sha256(path)[:_SHOWN]}" for name, path in inputs.items())


def has_input_record(page: Path, record: str) -> bool:
    """Whether a page says that it was made from these inputs; not, where there is no such page.

    Args:
      page: HTML.
      record: what `input_record` says of them.
    """
    try:
        with page.open("rb") as file:
            found = _ELEMENT.search(file.read(_MOST_BYTES).decode("utf-8", "replace"))
    except OSError:
        return False
    if found is None:
        return False
    there, here = _hashes(found[1]), _hashes(record)
    return there.keys() == here.keys() and all(set(there[name]) & set(here[name]) for name in here)


def _hashes(text: str) -> dict[str, list[str]]:
    """Of every input ``place:`` and ``:content``, which cannot be taken for each other."""
    found = {}
    for part in text.split():
        name, _, hashes = part.rpartition("=")
        place, _, content = hashes.partition(":")
        found[name] = [f"{place}:", f":{content}"]
    return found
