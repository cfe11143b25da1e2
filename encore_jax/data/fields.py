"""Which fields of a row are read, and what becomes of the others: nothing that a model would be shown is dropped.

A reader declares the fields that it reads and those of the published schema that it knowingly leaves out. Any other
field that holds something is either counted by its name, or, if a model would have been shown it (a system prompt,
tools, images, an earlier conversation), the row is refused: skipped, and counted by that field's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from encore_jax.data.rows import located, read_rows
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

T = TypeVar("T")

BOOKKEEPING = ("__index_level_0__", "index", "Unnamed: 0")
"""Columns that pandas adds of its own accord."""


class Unshown(InputError):
    """A row holds something that a model would be shown, and that a record cannot hold.

    Attributes:
      reason: what counters call it, e.g. ``"with 'tools', which no model here is shown"``.
    """

    def __init__(self, reason: str, *, where: str = "", fix: str = "remove it if no model shall see it"):
        self.reason = reason
        super().__init__(f"a row {reason}", where=where, fix=fix)


class NoText(NamedTuple):
    """Stands for the response of a row that makes no record.

    Attributes:
      reason: what counters call it, as `Unshown.reason`.
    """

    reason: str


class Fields(NamedTuple):
    """The fields of a format's rows: those that are read, and those that are known and left out."""

    read: frozenset[str]
    left_out: frozenset[str] = frozenset()

    @property
    def known(self) -> frozenset[str]:
        """All of them, and what pandas adds."""
        return self.read | self.left_out | frozenset(BOOKKEEPING)


def fields(read: str, left_out: str = "") -> Fields:
    """Fields by their names, with blanks in between."""
    return Fields(frozenset(read.split()), frozenset(left_out.split()))


def converted_rows(
    path: str | Path,
    known: Fields | Callable[[Mapping], Fields],
    skips: SkipCounter,
    convert: Callable[[dict, str], Iterable[T]],
) -> Iterator[T]:
    """Streams the records of a file's rows; a row that holds what no record can hold is skipped and counted.

    Args:
      path: the file.
      known: the fields of its format, or a function from a row to those of the row's variant.
      skips: counts the rows that are skipped, and the fields that are not read.
      convert: makes the records of one row, given the row and where it is; counts what it keeps and skips itself.

    Raises:
      InputError: what `convert` raises, with file and line.
    """
    for where, row in read_rows(path):
        try:
            with located(where):
                check_row(row, known if isinstance(known, Fields) else known(row), skips.not_read)
                records = list(convert(row, where))
        except Unshown as error:
            skips.skip(error.reason, where)
        else:
            yield from records


def check_row(row: Mapping, known: Fields, unread: Callable[[str], None]) -> None:
    """Looks at the fields that a reader does not know.

    Args:
      row: the row.
      known: the fields of its format.
      unread: told the name of each unknown field that holds something.

    Raises:
      Unshown: such a field is named like a part of what a model is shown, and holds a text, a list or an object.

    A field all of whose texts stand in fields that are read says nothing new: the `messages` of UltraFeedback's pairs.
    """
    names = known.known
    for name, value in row.items():
        if name in names or is_empty(value) or (holds_text(value) and _is_repeated(value, row, known.read)):
            continue
        if holds_text(value) and shows(name):
            raise Unshown(f"with a field {_short(name)}, which no model here is shown", where=_short(name)[1:-1])
        unread(_short(name)[1:-1])


def check_object(item: Mapping, known: Collection[str], where: str, unread: Callable[[str], None] | None) -> None:
    """The same for a message or a part of one, where any text, list or object may be shown, unless it is a label.

    Raises:
      Unshown: there is such a field.
    """
    for name, value in item.items():
        if name in known or is_empty(value):
            continue
        if holds_text(value) and (name == "name" or not is_label(name)):
            raise Unshown(
                f"with {_short(name)} in a message, which no model here is shown", where=where + str(name)[:60]
            )
        if unread is not None:
            unread(f"{_short(name)[1:-1]} of a message")


def holds_text(value: object) -> bool:
    """Whether a field's value could be shown: it is no number and no truth value."""
    return isinstance(value, str | bytes | list | tuple | Mapping)


def is_empty(value: object) -> bool:
    """Whether a field holds nothing: null, NaN, blank text, an empty value as JSON text, or lists and objects of these.

    >>> is_empty(None), is_empty([{"a": ""}]), is_empty("[]"), is_empty(0), is_empty("x")
    (True, True, True, False, False)
    """
    if isinstance(value, str):
        return value.strip() in ("", "[]", "{}", "null")
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_empty, value))
    return value is None or value == b"" or bool(value != value)


_SHOWN = frozenset(
    "attachment attachments audio audios context contexts conversation conversations dialog dialogs dialogue dialogues "
    "document documents examples function functions history image images input inputs instruction instructions message "
    "messages passage passages persona picture pictures preamble previous query question reasoning system think "
    "thinking thought thoughts tool tools turns video videos".split()
)
"""Words in the names of fields that hold a part of what a model is shown."""
_LABELS = frozenset(
    "category categories count created date domain hash id ids idx index key label labels lang language len length md5 "
    "meta metadata model models name names num rating ratings score scores sha1 sha256 source sources split subset tag "
    "tags time timestamp tokens type types uid uuid version".split()
)
"""Words that end the names of fields that say something about a text."""


def is_label(name: str) -> bool:
    """Whether a field of this name says something about a text, and is none: ``"message_id"``, ``"model"``."""
    return bool(words := _words(name)) and words[-1] in _LABELS


def shows(name: str) -> bool:
    """Whether a field of this name holds what a model is shown.

    >>> shows("system_prompt"), shows("toolCalls"), shows("image_id"), shows("margin")
    (True, True, False, False)
    """
    return not is_label(name) and not _SHOWN.isdisjoint(_words(name))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", str(name)[:200]).lower())


def _is_repeated(value: object, row: Mapping, read: Collection[str]) -> bool:
    """Whether fields that are read hold all of its texts, as with the `messages` of UltraFeedback's pairs."""
    known = {text.strip() for name in read if name in row for text in _texts(row[name])}
    return all(text.strip() in known for text in _texts(value))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _short(name: object) -> str:
    return repr(str(name)[:60])
