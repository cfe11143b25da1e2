"""RM-Bench (Liu et al. 2024, arXiv 2410.16184; data set THU-KEG/RM-Bench).

Rows of ``total_dataset.json``: ``id``, ``prompt``, ``chosen`` and ``rejected``, each three answers in the styles
concise, detailed plain text, detailed markdown, and ``domain``: chat, code, math, safety-refuse or safety-response.

The files of single domains (``chat_filtered.json``, ``code_filtered.json``, ``math_filtered.json``,
``safety-refuse_filtered.json``, ``safety-response_filtered.json``) have no domain: they have a ``subset``, which names
where the prompt comes from, numbers as ids, and notes on the error. Their domain is what the file's name begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.memory_rows import is_path
from encore_jax.data.readers.rewardbench2 import usable_choice
from encore_jax.data.row_labels import text_label
from encore_jax.data.rows import named, require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields("prompt chosen rejected domain subset id", "error error_key errors error_keys")

STYLES = ("concise", "detailed_plain", "detailed_markdown")
DOMAINS = ("chat", "code", "math", "safety-refuse", "safety-response")


def read_rm_bench(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams one comparison of 6 responses a row: 3 chosen styles, then 3 rejected styles.

    ``extra`` holds ``num_correct`` 3 and the six ``styles``, so reshaping six scores to (2, 3)
    gives the rows and columns of the benchmark's 3 x 3 accuracy matrix; and ``subset``, if the row has one. The domain
    is the comparison's subset. Rows with a blank answer are counted in ``skips``.
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        chosen, rejected = (require(row, name, list, where) for name in ("chosen", "rejected"))
        for name, answers in (("chosen", chosen), ("rejected", rejected)):
            if len(answers) != len(STYLES):
                raise InputError(
                    f"{len(answers)} answers instead of one per style ({', '.join(STYLES)})",
                    where=name,
                    fix="use the benchmark's own file",
                )
        extra = {"num_correct": len(STYLES), "styles": [*STYLES, *STYLES]}
        if subset := text_label(row, "subset"):
            extra["subset"] = subset
        domain = _domain(row, Path(path).name if is_path(path) else "")
        return usable_choice(row, chosen, rejected, where, skips, subset=domain, source="rm-bench", extra=extra)

    return converted_rows(path, FIELDS, skips, convert)


def _domain(row: Mapping, file: str) -> str:
    """Of `DOMAINS`; scores are of these, and what is of no domain would count nowhere."""
    given = text_label(row, "domain")
    for text in (given,) if given else (text_label(row, "subset"), file):
        for domain in DOMAINS:
            if text.lower().startswith(domain):
                return domain
    if not given and "subset" not in row:
        problem = f"missing field; this row has {named(row)}"
    else:
        problem = f"{given or row['subset']!r} is no domain, and the file's name begins with none"
    fix = f"write one of {', '.join(DOMAINS)}, or keep the file's own name, e.g. chat_filtered.json"
    raise InputError(problem, where="domain", fix=fix)
