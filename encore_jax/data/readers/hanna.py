"""HANNA: stories by eleven systems, rated by five LLMs under four prompts, and by three people, on six criteria.

Chhun et al., TACL 2024 (dig-team/hanna-benchmark-asg, MIT licence). ``hanna_metric_scores_llm.csv`` has a row per
system and a column per measure; a cell is a list with one value per story prompt. Read are ``Human 1 RE`` (rater,
criterion) and ``ChatGPT RE 1`` (judge, criterion, prompt); averages and automatic measures are not.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from encore_jax.data.delimited import read_table
from encore_jax.data.judged import JudgedResponses, decimal, preferred_pairs
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json

HANNA_FILE = "hanna_metric_scores_llm.csv"
SCALE = (1.0, 5.0)
THIRDS = 13
"""Levels of means of three answers on 1 to 5."""

_CRITERIA = "RE|CH|EM|SU|EG|CX"
_HUMAN = re.compile(rf"Human \d+ ({_CRITERIA})")
_JUDGE = re.compile(rf"(?!Human )(\S.*) ({_CRITERIA}) \d+")
_FIX = f"use {HANNA_FILE} of dig-team/hanna-benchmark-asg as it is"


def read_hanna(path: str | Path) -> JudgedResponses:
    """Reads the native file. Pairs are stories of one prompt with different means over raters and criteria.

    A rating is the mean of up to three answers, in which an answer that failed counts as -1; means below 1 are set
    to 1, and counted.

    Raises:
      InputError: another file, or a cell that holds something else.
    """
    rules, systems, human, judged = [], [], [], []
    for where, row in read_table(path, ("Model",), fix=_FIX):
        people = [name for name in row if name and _HUMAN.fullmatch(name)]
        rules = [name for name in row if name and _JUDGE.fullmatch(name)]
        if not people or not rules:
            raise InputError("has no ratings of people, or none of judges", where=f"{path}:1", fix=_FIX)
        human.append([_cell(row, name, where, *SCALE) for name in people])
        judged.append([_cell(row, name, where, -1.0, SCALE[1]) for name in rules])
        systems.append(row["Model"])
    lengths = {len(cell) for row in (*human, *judged) for cell in row}
    if len(systems) < 2 or len(lengths) != 1 or not min(lengths):
        problem = f"has {len(systems)} systems and lists of {', '.join(map(str, sorted(lengths)[:5])) or 'no'} values"
        raise InputError(problem, where=str(path), fix=_FIX)
    ratings = np.array(judged).transpose(2, 0, 1)  # [prompts, systems, K]
    answers = [[sum(map(decimal, cells)) for cells in zip(*system, strict=True)] for system in human]
    quality = [total for prompt in zip(*answers, strict=True) for total in prompt]  # exact, so equal means are equal
    prompts, count = ratings.shape[:2]
    failed = int((ratings < SCALE[0]).sum())
    unit = np.repeat(np.arange(prompts), count)
    flat = np.maximum(ratings, SCALE[0]).reshape(-1, len(rules)).astype(np.float32)
    return JudgedResponses(
        name="HANNA",
        rules=tuple(rules),
        ratings=flat,
        mask=np.ones(flat.shape, bool),
        unit=unit,
        pairs=preferred_pairs(quality, unit, str(path)),
        levels=THIRDS,
        scale=SCALE,
        judges=", ".join(dict.fromkeys(_JUDGE.fullmatch(rule)[1] for rule in rules)),
        notes=(f"{failed} of {ratings.size} ratings are below 1, because an answer failed, and count as 1.",),
    )


def _cell(row: dict, name: str, where: str, low: float, high: float) -> list[float]:
    values = decode_json(row[name], list[float], where=f"{where}, column {name!r}", fix=_FIX)
    for i, value in enumerate(values):
        if not low <= value <= high:
            raise InputError(
                f"value {i} is {value}, not {low:g} to {high:g}", where=f"{where}, column {name!r}", fix=_FIX
            )
    return values
