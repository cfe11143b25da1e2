"""Preferences of HelpSteer2 and HelpSteer3 (Wang et al., arXiv 2410.01257 and 2503.04378; data sets nvidia/HelpSteer2,
part ``preference``, and nvidia/HelpSteer3, part ``preference``).

HelpSteer2: ``prompt`` (several turns in one text, as in its ratings), ``response_1``, ``response_2`` and
``preference_strength``. HelpSteer3: ``context`` (messages), ``response1``, ``response2`` and ``overall_preference``,
with ``domain`` and ``language``. Strengths go from -3 (the first response is much better) to 3; 0 is no preference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.fields import Fields, converted_rows, fields
from encore_jax.data.readers.attributes import parse_turns
from encore_jax.data.readers.pairs import usable_pair
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

SECOND = fields(
    "prompt response_1 response_2 preference_strength id",
    "split preference_statement preference_elaboration three_most_similar_preferences all_preferences_unprocessed",
)
THIRD = fields("context response1 response2 overall_preference domain id", "language individual_preference split")


def read_helpsteer_pairs(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons in the file's order of responses; ``extra`` holds the ``strength`` as given.

    Rows without a preference are counted in ``skips``.
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        is_third = _known(row) is THIRD
        strength_name = "overall_preference" if is_third else "preference_strength"
        strength = require(row, strength_name, int, where)
        if not -3 <= strength <= 3:
            raise InputError(f"{strength} lies outside -3 to 3", where=strength_name, fix="fetch the data set again")
        given = require(row, "context" if is_third else "prompt", object, where)
        prompt = parse_turns(given) if isinstance(given, str) else parse_prompt(given, "context", skips.not_read)
        names = ("response1", "response2") if is_third else ("response_1", "response_2")
        pair = (prompt, *(require(row, name, str, where) for name in names))
        return usable_pair(
            pair if strength else "with no preference",
            where,
            skips,
            preferred=int(strength > 0),
            subset=text_label(row, "domain"),
            source="helpsteer",
            id=row_id(row, where),
            extra={"strength": strength},
        )

    return converted_rows(path, _known, skips, convert)


def _known(row: Mapping) -> Fields:
    return THIRD if "overall_preference" in row else SECOND
