"""RewardBench 2 (Malik et al. 2025, arXiv 2506.01937; data set allenai/reward-bench-2).

Rows: ``id``, ``prompt``, ``chosen`` (list of right answers), ``rejected`` (list of wrong ones),
``num_correct``, ``num_incorrect``, ``total_completions``, ``models``, ``subset``. All subsets have
one right and three wrong answers, except Ties, which has several right ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.row_labels import row_id, whole
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields(
    "prompt chosen rejected num_correct num_incorrect total_completions models subset id", "additional_metadata"
)


def read_rewardbench2(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons of all right answers followed by all wrong ones.

    ``preferred`` is 0 and ``extra["num_correct"]`` says how many of the first are right. Rows with
    a blank answer are counted in ``skips``.
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        chosen, rejected = (require(row, name, list, where) for name in ("chosen", "rejected"))
        _check_counts(row, len(chosen), len(rejected))
        extra = {"num_correct": len(chosen)}
        if row.get("models") is not None:
            extra["models"] = row["models"]
        labels = {"subset": require(row, "subset", str, where), "source": "rewardbench2", "extra": extra}
        return usable_choice(row, chosen, rejected, where, skips, **labels)

    return converted_rows(path, FIELDS, skips, convert)


def usable_choice(
    row: Mapping, chosen: list, rejected: list, where: str, skips: SkipCounter, **labels
) -> Iterator[Comparison]:
    """One best-of-n comparison, right answers first, or nothing and a counted blank answer."""
    for name, answers in (("chosen", chosen), ("rejected", rejected)):
        if not answers:
            raise InputError("no answer in the list", where=name, fix="fetch the data set again")
    if any(isinstance(text, str) and not text.strip() for text in (*chosen, *rejected)):
        skips.skip("with a blank response", where)
        return
    prompt = parse_prompt(require(row, "prompt", object, where), "prompt", skips.not_read)
    comparison = Comparison(prompt, (*chosen, *rejected), 0, id=row_id(row, where), **labels)
    skips.kept += 1
    yield comparison


def _check_counts(row: Mapping, right: int, wrong: int) -> None:
    expected = {"num_correct": right, "num_incorrect": wrong, "total_completions": right + wrong}
    for name, count in expected.items():
        said = whole(row.get(name), name)
        if said is not None and said != count:
            raise InputError(f"says {said}, but the lists hold {count}", where=name, fix="fetch the data set again")
