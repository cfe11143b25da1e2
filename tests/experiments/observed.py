"""Which fields of its configuration a run reads, besides writing them down, and how often it calls a function."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from unittest import mock

from encore_jax.settings import Settings

WRITING = ("asdict", "_asdict_inner", "replace", "_fields", "freeze", "results_depend_on")
"""Functions that turn a whole configuration into plain values, or into another one: they read all and use none."""


@contextlib.contextmanager
def observed() -> Iterator[set[tuple[str, str]]]:
    """The fields that are read meanwhile, each as the name of its class and its own."""
    read: set[tuple[str, str]] = set()

    def reading(self, name):
        if not name.startswith("_") and not _is_written_down():
            read.add((type(self).__name__, name))
        return object.__getattribute__(self, name)

    Settings.__getattribute__ = reading
    try:
        yield read
    finally:
        del Settings.__getattribute__


def fields_read(config: Settings, read: set[tuple[str, str]], prefix: str = "") -> set[str]:
    """Dotted names of the configuration's fields among those that were read."""
    found = set()
    for name, value in vars(config).items():
        if isinstance(value, Settings):
            found |= fields_read(value, read, f"{prefix}{name}.")
        elif (type(config).__name__, name) in read:
            found.add(prefix + name)
    return found


def _is_written_down() -> bool:
    frame = sys._getframe(2)
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code.co_name in WRITING:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def counting(function):
    """Collects the calls of a function, whichever module it is called from."""
    calls = []

    @functools.wraps(function)
    def counted(*args, **options):
        calls.append(args)
        return function(*args, **options)

    with contextlib.ExitStack() as stack:
        for holder in list(sys.modules.values()):
            if getattr(holder, "__dict__", {}).get(function.__name__) is function:
                stack.enter_context(mock.patch.object(holder, function.__name__, counted))
        yield calls
