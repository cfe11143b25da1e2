r"""Attribute ratings of single responses: HelpSteer2 columns and UltraFeedback annotations.

HelpSteer2 (Wang et al. 2024, arXiv 2406.08673; data set nvidia/HelpSteer2): ``prompt``,
``response`` and integer columns helpfulness, correctness, coherence, complexity, verbosity from 0
to 4. A prompt of several turns is one text with "\n<extra_id_1>Assistant\n" and
"\n<extra_id_1>User\n" between them. Any file of that shape is read; the columns are the pool's rules. In the part
``disagreements`` a column holds a list, one number per annotator, whose mean is taken.

UltraFeedback (Cui et al. 2023, arXiv 2310.01377; data set openbmb/UltraFeedback): ``instruction``,
``source`` and ``completions``, each with ``model``, ``response`` and ``annotations``, which holds
for each of four aspects a ``Rating`` "1" to "5" or "N/A" as text. The system prompt and principle by which a completion
was elicited differ between completions; raters did not see them, and they are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from encore_jax.data.comparison import Message, RatedResponse, parse_prompt
from encore_jax.data.fields import Fields, Unshown, check_row, converted_rows, fields
from encore_jax.data.orientation import orient_named
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.rules.rule import as_pool

if TYPE_CHECKING:
    from encore_jax.rules.rule import RulePool

ULTRAFEEDBACK_ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
_HELPSTEER2 = fields("prompt response id", "helpfulness correctness coherence complexity verbosity")
_ULTRAFEEDBACK = fields("instruction completions source id", "models correct_answers incorrect_answers")
_COMPLETION = fields(
    "response annotations model", "principle custom_system_prompt overall_score fine-grained_score critique"
)
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def read_attribute_columns(
    path: str | Path, *, pool: RulePool, scale: tuple[float, float], skips: SkipCounter
) -> Iterator[RatedResponse]:
    """Streams one rated response a row of ``{prompt, response, <rule>: number, ...}``.

    Args:
      path: the file.
      pool: every rule of it must be a column (null or absent in rows where unrated); other columns are not read.
      scale: (low, high) of the columns, (0, 4) for HelpSteer2.
      skips: counts what was kept and skipped (blank responses).
    """
    from encore_jax.data.rating_shape import fields_of_file

    pool, shown = as_pool(pool), frozenset(fields_of_file(path))

    def rating(row: dict, name: str, where: str) -> object:
        return row.get(name) if name in shown else require(row, name, object, where)

    def convert(row: dict, where: str) -> Iterator[RatedResponse]:
        prompt = require(row, "prompt", object, where)
        prompt = parse_turns(prompt) if isinstance(prompt, str) else parse_prompt(prompt, "prompt", skips.not_read)
        given = {name: _mean(rating(row, name, where), name) for name in pool.names}
        labels = {"source": "attributes", "id": row_id(row, where)}
        response = require(row, "response", str, where)
        return _usable(prompt, response, given, pool, scale, where, skips, **labels)

    known = Fields(_HELPSTEER2.read | frozenset(pool.names), _HELPSTEER2.left_out)
    return converted_rows(path, known, skips, convert)


def read_ultrafeedback(
    path: str | Path, *, pool: RulePool, scale: tuple[float, float] = (1.0, 5.0), skips: SkipCounter
) -> Iterator[RatedResponse]:
    """Streams one rated response a completion; "N/A" and absent aspects are masked.

    The pool's rules must be among `ULTRAFEEDBACK_ASPECTS`. The subset is the instruction's source;
    ``extra`` holds the model.
    """
    pool = as_pool(pool)
    for name in pool.names:
        if name not in ULTRAFEEDBACK_ASPECTS:
            raise InputError(
                f"UltraFeedback has no aspect {name!r}",
                where="pool",
                fix=f"use rules named {', '.join(ULTRAFEEDBACK_ASPECTS)}",
            )

    def convert(row: dict, where: str) -> Iterator[RatedResponse]:
        prompt = parse_prompt(require(row, "instruction", str, where))
        for i, completion in enumerate(require(row, "completions", list, where)):
            here = f"{where}, completion {i}"
            if not isinstance(completion, Mapping):
                raise InputError("not an object", where=here, fix="write {...}")
            try:
                check_row(completion, _COMPLETION, skips.not_read)
            except Unshown as error:
                skips.skip(error.reason, here)
                continue
            annotations = require(completion, "annotations", dict, here)
            given = {name: _rating(annotations.get(name), name, here) for name in pool.names}
            labels = {
                "source": "ultrafeedback",
                "subset": text_label(row, "source"),
                "id": f"{row_id(row, where)}#{i}",
                "extra": {"model": completion["model"]} if "model" in completion else {},
            }
            response = require(completion, "response", str, here)
            yield from _usable(prompt, response, given, pool, scale, here, skips, **labels)

    return converted_rows(path, _ULTRAFEEDBACK, skips, convert)


def parse_turns(prompt: str) -> tuple[Message, ...]:
    r"""Messages of a HelpSteer2 prompt; the first turn is the user's.

    >>> [m.role for m in parse_turns("Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nBye")]
    ['user', 'assistant', 'user']
    """
    first, *rest = _TURN.split(prompt)
    turns = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    return tuple(Message(name.lower(), content) for name, content in turns)


def _usable(prompt, response, given, pool, scale, where, skips: SkipCounter, **labels) -> Iterator[RatedResponse]:
    if not response.strip():
        skips.skip("with a blank response", where)
        return
    try:
        ratings, mask = orient_named(given, pool, scale)
        record = RatedResponse(prompt, response, tuple(pool.names), ratings, mask, **labels)
    except InputError as error:
        raise error.at(f"{where}, field '{error.where}'") from None
    skips.kept += 1
    yield record


def _mean(rating: object, name: str) -> object:
    """The mean of several annotators' numbers; anything else as it is."""
    if not isinstance(rating, list):
        return rating
    numbers = [number for number in rating if number is not None]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise InputError("expected numbers", where=name, fix="write one number per annotator")
    try:
        return math.fsum(numbers) / len(numbers) if numbers else None
    except OverflowError:
        raise InputError("numbers beyond any scale", where=name, fix="write one number per annotator") from None


def _rating(annotation: Mapping | None, name: str, where: str) -> float | None:
    if annotation is None:
        return None
    place = f"{where}, {name}"
    if not isinstance(annotation, Mapping):
        raise InputError("not an object", where=place, fix='write {"Rating": "4"}')
    given = require(annotation, "Rating", object, place)
    if given is None or given == "N/A":
        return None
    try:
        return float(given if isinstance(given, str | int | float) and not isinstance(given, bool) else "no number")
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{str(given)[:40]!r} is no rating", where=f"{place}, field 'Rating'", fix='write a number or "N/A"'
        ) from None
