"""LLMBar: instructions with two answers, of which one is objectively better, and what LLMs rate each of them.

Zeng et al., ICLR 2024 (princeton-nlp/LLMBar, MIT licence). A folder holds ``ratings.jsonl``, a row per pair with the
ratings of K rating prompts for either answer (``{"id", "subset", "chosen", "rejected"}``, null where an evaluator gave
none), and ``judges.json`` with their names: what the evaluators' ``result.json`` files say, put side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from encore_jax.data.judged import JudgedResponses
from encore_jax.data.rows import read_rows
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, read_json

LLMBAR_FILES = ("ratings.jsonl", "judges.json")
SCALE = (0.0, 10.0)
LEVELS = 11
Rating = Annotated[float, msgspec.Meta(ge=SCALE[0], le=SCALE[1])] | None


class _Row(msgspec.Struct):
    chosen: list[Rating]
    rejected: list[Rating]


def read_llmbar(folder: str | Path) -> JudgedResponses:
    """Reads a folder of ratings.

    Raises:
      InputError: a file is missing, or a row holds something else than a rating of either answer by every judge.
    """
    ratings, names = (Path(folder) / name for name in LLMBAR_FILES)
    judges = tuple(read_json(names, list[str], fix="name the judges, in the ratings' order"))
    rows = []
    for where, row in read_rows(ratings):
        row = check_shape(row, _Row, where=where, fix="write ratings from 0 to 10, or null")
        for side in (row.chosen, row.rejected):
            if len(side) != len(judges):
                problem = f"has {len(side)} ratings of an answer; {names.name} names {len(judges)} judges"
                raise InputError(problem, where=where, fix="write one rating, or null, for every judge")
        rows.append((row.chosen, row.rejected))
    if not rows or not judges:
        raise InputError("holds no pair, or there is no judge", where=str(ratings), fix="check the folder")
    if len(set(judges)) < len(judges):
        raise InputError("names a judge twice", where=str(names), fix="give every judge a name of its own")
    flat = np.array(rows, np.float32).reshape(-1, len(judges))
    mask = np.isfinite(flat)
    missing = int((~mask.reshape(-1, 2, len(judges))).any((1, 2)).sum())
    return JudgedResponses(
        name="LLMBar",
        rules=judges,
        ratings=np.where(mask, flat, 0),
        mask=mask,
        unit=np.repeat(np.arange(len(rows)), 2),
        pairs=np.arange(2 * len(rows)).reshape(-1, 2),
        levels=LEVELS,
        scale=SCALE,
        judges=", ".join(dict.fromkeys(name.partition("/")[0] for name in judges)),
        notes=(f"{missing} of {len(rows)} pairs lack a rating.",) if missing else (),
    )
