"""What a scored file says, counted."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from encore_jax.data.parquet_rows import record_batches
from encore_jax.errors import InputError
from encore_jax.terminal_text import one_line


def summary(output: Path, items: int) -> dict:
    """Counts over a written file of so many items; accuracy is strict: a tie is no success.

    shared_first_place counts rows whose best response is one of several, of the same reward.

    Raises:
      InputError: it is damaged, or holds another number of rows.
    """
    try:
        counts = _summed(output)
    except Exception as error:  # columns of other types among them
        said = error.problem if isinstance(error, InputError) else one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"is damaged: {said}", where=str(output), fix="give --overwrite to score it again") from None
    if counts["rows"] != items:
        problem = f"holds {counts['rows']} rows, and the input {items}"
        raise InputError(problem, where=str(output), fix="give --overwrite to score it again")
    return counts


def _summed(output: Path) -> dict:
    rows = responses = too_long = refused = reasons = hidden = judged = right = ties = shared = 0
    columns = ["id", "rewards", "first_place", "preferred", "tokens", "reason", "hidden"]
    for batch in record_batches(output, columns):
        for row in batch.to_pylist():
            rewards, preferred, first = row["rewards"], row["preferred"], row["first_place"]
            rows += 1
            responses += len(rewards)
            shared += first is not None and len(first) > 1
            refused += row["tokens"].count(None)
            too_long += rewards.count(None) - row["tokens"].count(None)
            if row["reason"] is not None:
                reasons += 1
                if reasons == 1:
                    logging.warning("a row without all of its rewards, the first one: %s: %s", row["id"], row["reason"])
            if row["hidden"] is not None:
                hidden += 1
                if hidden == 1:
                    logging.warning("a row that is not scored whole, the first one: %s: %s", row["id"], row["hidden"])
            if preferred is not None and first is not None and len(rewards) > 1:
                judged += 1
                right += first == [preferred]
                ties += preferred in first and len(first) > 1
    counts = {"rows": rows, "responses": responses, "too_long": too_long, "rows_with_reason": reasons}
    counts |= {"refused": refused} if refused else {}
    counts |= {"shared_first_place": shared} if shared else {}
    counts |= {"rows_with_hidden_text": hidden} if hidden else {}
    return counts | ({"judged": judged, "accuracy": right / judged, "ties": ties} if judged else {})
