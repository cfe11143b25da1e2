"""What a reader could not use, counted and shown."""

from __future__ import annotations

MOST_SHOWN = 12
"""Reasons, and names of fields, that are listed; of more, only the number is said."""
MOST_KEPT = 1000
"""Reasons, and names of fields, that are told apart; later ones count together."""


class SkipCounter:
    """Counts the rows a reader kept and skipped; print it when the reader is done.

    Attributes:
      kept: rows that became records.
      reasons: how many rows were skipped for each reason.
      first: where the first row of each reason is.
      unread: in how many places each field was found that the reader does not know and does not read.
      notes: what else is to be said about the file, once.

    >>> skips = SkipCounter()
    >>> skips.kept += 2
    >>> skips.skip("blank response", "pairs.jsonl:3")
    >>> skips.not_read("margin")
    >>> print(skips)
    3 rows: 2 kept, 1 skipped (1 blank response, first at pairs.jsonl:3); fields not read: margin (1)
    """

    def __init__(self):
        self.kept = 0
        self.reasons: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.unread: dict[str, int] = {}
        self.notes: list[str] = []

    def leave_out(self, reason: str, count: int, where: str) -> None:
        """Takes back records that were kept, because of a limit; nothing if there are none."""
        if count:
            self.kept -= count
            self.skip(reason, where)
            self.reasons[reason] += count - 1

    def skip(self, reason: str, where: str) -> None:
        """Counts a row that makes no record."""
        reason = reason if reason in self.reasons or len(self.reasons) < MOST_KEPT else "for other reasons"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.first.setdefault(reason, where)

    def not_read(self, field: str) -> None:
        """Counts a field that holds something and is left out."""
        field = field if field in self.unread or len(self.unread) < MOST_KEPT else "others"
        self.unread[field] = self.unread.get(field, 0) + 1

    @property
    def skipped(self) -> int:
        return sum(self.reasons.values())

    def __str__(self) -> str:
        text = f"{self.kept + self.skipped:,} rows: {self.kept:,} kept, {self.skipped:,} skipped"
        if self.reasons:
            parts = [f"{n:,} {reason}, first at {self.first[reason]}" for reason, n in self.reasons.items()]
            text += f" ({'; '.join(_some(parts, 'reasons'))})"
        if self.unread:
            names = [f"{name} ({n:,})" for name, n in self.unread.items()]
            text += f"; fields not read: {', '.join(_some(names, 'fields'))}"
        return "; ".join([text, *self.notes])


def _some(parts: list[str], what: str) -> list[str]:
    more = len(parts) - MOST_SHOWN
    return parts if more <= 0 else [*parts[:MOST_SHOWN], f"{more} more {what}"]
