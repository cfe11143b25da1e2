"""What a benchmark leaves out, counted: comparisons with a text that is too long, refused or not printed whole."""

from __future__ import annotations

from absl import logging

from encore_jax.data import Comparison
from encore_jax.evaluation.conventions import HIDDEN, TOO_LONG


def dropped(comparisons: list[Comparison], rewards: list, notes: list[list[str]]) -> dict[str, object]:
    """How many comparisons have no reward because a text is too long; and because one is refused, if there are any."""
    dropped = [i for i, reward in enumerate(rewards) if reward is None]
    refused = [i for i in dropped if not any(TOO_LONG in note for note in notes[i])]
    counts: dict[str, object] = {"comparisons_dropped_too_long": len(dropped) - len(refused)}
    if refused:
        first = f"{comparisons[refused[0]].id}: {'; '.join(notes[refused[0]])}"
        logging.warning("%d comparisons left out; the first, %s", len(refused), first)
        counts |= {"comparisons_refused": len(refused), "first_refused": first}
    if hidden := [i for i, of in enumerate(notes) if any(f": {HIDDEN}: " in note for note in of)]:
        first = f"{comparisons[hidden[0]].id}: {'; '.join(notes[hidden[0]])}"
        logging.warning("parts of %d comparisons are hidden; the first, %s", len(hidden), first)
        counts |= {"comparisons_hidden": len(hidden), "first_hidden": first}
    return counts
