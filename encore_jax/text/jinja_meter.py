"""What one rendering of a template may spend: processor time, and characters of all the texts that it makes."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import ItemsView, KeysView, Mapping, Sequence, ValuesView
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import TemplateRuntimeError
from jinja2.utils import Namespace

SECONDS = 1.0
"""Processor time that one rendering may take."""
LARGEST, LARGEST_PER_CHARACTER = 1_000_000, 16
"""Characters of the largest text that a rendering may make, and how many more for every character of the messages."""
WORK, WORK_PER_CHARACTER = 16_000_000, 200
"""Characters that all texts made in one rendering may have together, and how many more for every character given."""
BLOCK, FILTER, ITEM = 20, 10, 16
"""What entering a block, calling a filter and making an item of a list cost, in characters."""
CLOCK = 1 << 18
"""The clock is looked at whenever so many characters have been paid for."""

SCALARS = frozenset({str, int, float, bool, type(None), Undefined})
COLLECTIONS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)


class LimitError(TemplateRuntimeError):
    """A rendering takes too much time, makes too much text, or uses something that cannot be bounded."""


class Meter(threading.local):
    """What the rendering in this thread may still spend.

    Attributes:
      left: characters.
      largest: characters that one text may have.
    """

    def __init__(self):
        self.start(0)

    def start(self, characters: int) -> None:
        """Begins a rendering of messages that have so many characters."""
        self.largest = LARGEST + LARGEST_PER_CHARACTER * characters
        self.left = WORK + WORK_PER_CHARACTER * characters
        self._until, self._clock = time.perf_counter() + SECONDS, time.perf_counter
        self._mark = self.left - CLOCK

    def block(self) -> None:
        """Pays for entering a block: a loop's body, a macro, a branch."""
        self.left -= BLOCK
        if self.left < self._mark:
            self.look()

    def spend(self, characters: int) -> None:
        """Pays for text that is about to be made."""
        if characters > self.largest:
            raise LimitError(f"makes a text of {characters:,} characters, and {self.largest:,} is the most here")
        self.left -= characters
        if self.left < self._mark:
            self.look()

    def look(self) -> None:
        """Looks whether anything is left, and at the clock."""
        if self.left < 0:
            raise LimitError("makes more text, or takes more steps, than any conversation needs")
        if self._clock() > self._until and self._clock is time.perf_counter:
            # The machine may have been busy with others: from here on this thread's own time counts, read more slowly.
            self._until, self._clock = time.thread_time() + SECONDS, time.thread_time
        elif self._clock() > self._until:
            raise LimitError(f"takes more than {SECONDS:.0f} s of processor time")
        self._mark = self.left - CLOCK

    def made(self, value: Any) -> Any:
        """A value, paid for by its own length alone."""
        if isinstance(value, str | bytes):
            self.spend(len(value))
        elif isinstance(value, list | tuple | dict):
            self.spend(ITEM * len(value))
        return value

    def sized(self, value: Any) -> Any:
        """A value that is about to be printed, compared or hashed whole, paid for with all that it holds."""
        if type(value) not in SCALARS:
            self.spend(self.size(value))
        return value

    def parts(self, values: tuple) -> tuple:
        """Values that are about to be joined, paid for."""
        self.spend(sum([len(value) if type(value) is str else self.size(value) for value in values]))
        return values

    def add(self, values: tuple) -> Any:
        """The sum of values from left to right: of texts, lists or numbers."""
        length = 0
        for value in values:
            if type(value) is not str:
                return functools.reduce(self._add, values)
            length += len(value)
        self.spend(length)
        return "".join(values)

    def _add(self, left: Any, right: Any) -> Any:
        if isinstance(left, str | bytes) and isinstance(right, str | bytes):
            self.spend(len(left) + len(right))
        elif isinstance(left, Sequence) and isinstance(right, Sequence):
            self.spend(ITEM * (len(left) + len(right)))
        return left + right

    def size(self, value: Any) -> int:
        """Characters that a value would print, more or less: a list that it holds twice counts twice.

        Raises:
          LimitError: more than may still be spent.
        """
        if isinstance(value, str | bytes):
            return len(value)
        total, waiting, most = 0, [value], min(self.largest, self.left)
        while waiting:
            value, total = waiting.pop(), total + ITEM
            if isinstance(value, str | bytes):
                total += len(value)
            elif isinstance(value, Mapping):
                waiting.extend(value.items())
            elif isinstance(value, COLLECTIONS):
                waiting.extend(value)
            elif isinstance(value, range):
                total += ITEM * len(value)
            elif isinstance(value, Namespace):
                waiting.append(object.__getattribute__(value, "_Namespace__attrs"))
            if total + ITEM * len(waiting) > most:
                raise LimitError(f"makes a text of more than {most:,} characters")
        return total
