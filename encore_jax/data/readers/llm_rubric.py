"""LLM-Rubric: dialogues, what probability an LLM gives each answer to nine questions about them, and how people answer.

Hashemi et al., ACL 2024 (microsoft/LLM-Rubric, MIT licence). Two tables, tab-separated: the LLM's, a row per dialogue
and question with ``answer1_prob`` to ``answer4_prob``; and people's, a row per dialogue and annotator, in which ``Q0``
is overall satisfaction. There is a real part and a synthetic one.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from encore_jax.data.delimited import cell_number, read_table
from encore_jax.data.judged import JudgedResponses, decimal, preferred_pairs
from encore_jax.errors import InputError

LLM_RUBRIC_FILES = {
    "real": ("gpt-3.5-turbo-16k_real_evaluations_FIXED.tsv", "human_judges_real_convs_FIXED_ANON.tsv"),
    "synthetic": ("gpt-3.5-turbo-16k_synth_evaluations_FIXED.tsv", "human_judges_synth_all_FIXED_ANON.tsv"),
}
"""The LLM's table and people's, of every part."""
SCALE = (1.0, 4.0)
OVERALL = "Q0"
"""The question whose answer by people says which of two dialogues is better."""

_ANSWERS = tuple(f"answer{i}_prob" for i in (1, 2, 3, 4))
_FIX = "use the tables of microsoft/LLM-Rubric's data folder as they are"


def read_llm_rubric(folder: str | Path, part: Literal["real", "synthetic"] = "real") -> JudgedResponses:
    """Reads one part. A rating is the expected answer; pairs are all dialogues with different mean satisfaction.

    Raises:
      InputError: a table is missing or holds something else, a dialogue lacks a question, or no dialogue is in both.
    """
    llm, people = (Path(folder) / name for name in LLM_RUBRIC_FILES[part])
    expected = _expected_answers(llm)
    questions = tuple(sorted({question for answers in expected.values() for question in answers}))
    answers = _overall(people)
    dialogues = [name for name in expected if name in answers]
    for name in dialogues:
        missing = [question for question in questions if question not in expected[name]]
        if missing:
            raise InputError(f"dialogue {name!r} has no question {missing[0]!r}", where=str(llm), fix=_FIX)
    quality = [sum(answers[name]) / len(answers[name]) for name in dialogues]
    pairs = preferred_pairs(quality, [0] * len(dialogues), str(people))
    ratings = np.array([[expected[name][question] for question in questions] for name in dialogues], np.float32)
    return JudgedResponses(
        name=f"LLM-Rubric, {part}",
        rules=questions,
        ratings=ratings,
        mask=np.ones(ratings.shape, bool),
        unit=np.arange(len(dialogues)),
        pairs=pairs,
        levels=0,
        scale=SCALE,
        judges="GPT-3.5",
        notes=tuple(_left_out(expected, answers)),
    )


def _expected_answers(path: Path) -> dict[str, dict[str, float]]:
    expected: dict[str, dict[str, float]] = {}
    for where, row in read_table(path, ("text_id", "criterion", *_ANSWERS), delimiter="\t", fix=_FIX):
        shares = [cell_number(row, column, 0, 1, where, _FIX) for column in _ANSWERS]
        if not 0.99 < sum(shares) < 1.01:
            raise InputError(f"probabilities add up to {sum(shares):.3f}", where=where, fix=_FIX)
        answers = expected.setdefault(row["text_id"], {})
        if row["criterion"] in answers:
            problem = f"dialogue {row['text_id']!r} has question {row['criterion']!r} twice"
            raise InputError(problem, where=where, fix=_FIX)
        answers[row["criterion"]] = sum(i * share for i, share in enumerate(shares, 1)) / sum(shares)
    return expected


def _overall(path: Path) -> dict[str, list[Fraction]]:
    answers: dict[str, list[Fraction]] = {}
    for where, row in read_table(path, ("text_id", OVERALL), delimiter="\t", fix=_FIX):
        answers.setdefault(row["text_id"], []).append(decimal(cell_number(row, OVERALL, 0, SCALE[1], where, _FIX)))
    return answers


def _left_out(expected: dict, answers: dict):
    for count, what in (
        (len(expected.keys() - answers.keys()), "the LLM rated and nobody else"),
        (len(answers.keys() - expected.keys()), "people rated and the LLM did not"),
    ):
        if count:
            yield f"{count} dialogues that {what} are left out."
