"""What people said of responses in a table that has a response a row: how good each is, or which they prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore_jax.data.wide_rules import cell_of
from encore_jax.errors import InputError

Row = tuple[str, Mapping[str, object]]
_HOW = 'write 1 for the preferred response of a prompt and 0 for its others, or a column "quality": a number for every '
_HOW += "response, higher is better"


def qualities(rows: Sequence[Sequence[Row]], role: Mapping[str, str]) -> list[float | None]:
    """How good people find every response; None where they said nothing.

    Args:
      rows: of every response, those that are about it; the mean counts of what several say.
      role: the columns: "prompt", and "quality" or "preferred" if there are labels. Of "preferred", 1 (or yes) is the
        preferred response and 0 another one, so that it must tell responses of one prompt apart.

    Raises:
      InputError: a cell is no number, or "preferred" does not say which response of a prompt it is.

    >>> rows = [[("", {"ask": "Hi", "say": "A", "best": "yes"})], [("", {"ask": "Hi", "say": "B", "best": 0})]]
    >>> qualities(rows, {"prompt": "ask", "response": "say", "preferred": "best"})
    [1.0, 0.0]
    """
    name = next((name for name in ("quality", "preferred") if name in role), None)
    if name is None:
        return [None] * len(rows)
    found = []
    for own in rows:
        cells = [cell for place, row in own if (cell := label_cell(row, role[name], place, name)) is not None]
        found.append(sum(cells) / len(cells) if cells else None)
    if name == "preferred":
        _check_tells([own[0] for own in rows], found, role)
    return found


def label_cell(row: Mapping[str, object], column: str, place: str, name: str) -> float | None:
    """A label's number; None where there is none.

    Raises:
      InputError: it is no number, such as the name of a side; or of "preferred" beyond 0 and 1, such as a rank.
    """
    try:
        cell = cell_of(row, column, place)
    except InputError as error:
        if name == "quality":
            raise
        problem = f"{error.problem}, and this table has a response a row, so that none of them is called so"
        raise InputError(problem, where=error.where, fix=_HOW) from None
    if name == "preferred" and cell is not None and not 0 <= cell.value / (cell.top or 1) <= 1:
        problem = f"{cell.value:g} is neither 1 nor 0: it may be a rank, of which 1 is the best, or a response's number"
        raise InputError(problem, where=f"{place}, column {column!r}", fix=_HOW)
    return None if cell is None else cell.value


def _check_tells(rows: Sequence[Row], found: Sequence[float | None], role: Mapping[str, str]) -> None:
    """Refuses numbers that may be a response's place among those of its prompt instead of whether it is preferred."""
    prompts: dict[str, dict[str, tuple[str, set[float]]]] = {}
    for (place, row), value in zip(rows, found, strict=True):
        own = prompts.setdefault(str(row.get(role["prompt"])), {})
        said = own.setdefault(str(row.get(role["response"])), (place, set()))[1]
        said |= set() if value is None else {value}
    same = ""
    compared = [list(own.values()) for own in prompts.values() if len(own) > 1]
    labelled = [own for own in compared if any(said for _, said in own)]
    for own in labelled:
        place, said = next((place, said) for place, said in own if said)
        where = f"{place}, column {role['preferred']!r}"
        if not all(said for _, said in own):
            problem = f"says {min(said):g} of this response, and nothing of another one of its prompt"
            raise InputError(problem, where=where, fix=_HOW)
        same = same or where
    if labelled and all(len(set().union(*(said for _, said in own))) == 1 for own in labelled):
        raise InputError("says the same of all responses, of every prompt", where=same, fix=_HOW)
