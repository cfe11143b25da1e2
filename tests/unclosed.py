"""SQLite connections that nobody closes warn, as files and sockets do; before Python 3.13 they would not.

A warning is an error in every test (pyproject.toml), so that a leak that only 3.13 would show fails on 3.11 too.
"""

from __future__ import annotations

import sqlite3
import sys
import warnings


class Watched(sqlite3.Connection):
    """A connection that says so when it is dropped while open."""

    is_open = False

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.is_open = True

    def close(self) -> None:
        super().close()
        self.is_open = False

    def __del__(self):
        if self.is_open:
            warnings.warn(f"unclosed database in {self!r}", ResourceWarning, source=self, stacklevel=2)


def watch() -> None:
    """Makes every connection of this process a watched one, where Python itself does not watch."""
    if sys.version_info >= (3, 13):
        return
    plain = sqlite3.connect

    def connect(*args, **options):
        return plain(*args, **{"factory": Watched} | options)

    sqlite3.connect = connect
