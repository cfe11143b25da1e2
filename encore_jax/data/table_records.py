"""From rows and the ratings in them to records: rated responses, or comparisons."""

from __future__ import annotations

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.data.rating_columns import Columns
from encore_jax.data.rating_texts import cell_prompt, cell_text, preferred_side, row_labels
from encore_jax.data.response_labels import qualities
from encore_jax.errors import InputError


def rated_responses(about, role, rules, ratings, mask) -> tuple[RatedResponse, ...]:
    """Rated responses, by the first of the rows that are about each; all of these may carry its label."""
    found, good = [], qualities(about, role)
    for i, ((place, row), *_) in enumerate(about):
        extra = {} if good[i] is None else {"quality": good[i]}
        try:
            prompt, response = cell_prompt(row, role["prompt"], place), cell_text(row, role["response"], place)
            labels = row_labels(row, role, place)
            found.append(RatedResponse(prompt, response, rules, ratings[i], mask[i], extra=extra, **labels))
        except InputError as error:
            raise error.at(f"{place}, {error.where}") from None
    return tuple(found)


def compared_responses(table, columns: Columns, rules=(), ratings=None, mask=None) -> tuple[Comparison, ...]:
    found, names, role = [], list(columns.sides), columns.role
    for i, (place, row) in enumerate(table):
        preferred = 0 if names == ["chosen", "rejected"] else None
        if "preferred" in role:
            preferred = preferred_side(row.get(role["preferred"]), names, f"{place}, column {role['preferred']!r}")
        rated = {} if ratings is None else {"rules": rules, "ratings": ratings[i], "mask": mask[i]}
        try:
            prompt = cell_prompt(row, role["prompt"], place)
            responses = tuple(cell_text(row, column, place) for column in columns.sides.values())
            found.append(Comparison(prompt, responses, preferred, **rated, **row_labels(row, role, place)))
        except InputError as error:
            raise error.at(f"{place}, {error.where}") from None
    return tuple(found)
