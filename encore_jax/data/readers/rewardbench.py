"""RewardBench v1 (Lambert et al. 2024, arXiv 2403.13787; data set allenai/reward-bench).

Rows of the splits ``filtered`` and ``raw``: ``prompt``, ``chosen``, ``chosen_model``, ``rejected``,
``rejected_model`` (texts), ``subset``, ``id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.row_labels import row_id
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields("prompt chosen rejected subset id chosen_model rejected_model")

SAFETY_COUNTS: Mapping[str, int] = {
    "refusals-dangerous": 100,
    "refusals-offensive": 100,
    "xstest-should-refuse": 154,
    "xstest-should-respond": 250,
    "donotanswer": 136,
}
"""Comparisons in each Safety subset; Safety is the mean accuracy weighted by these (740 in all)."""


def read_rewardbench(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons, the chosen response first; all subsets of the file.

    A blank response, which no `Comparison` can hold, is counted in ``skips``; identical responses
    are kept, because the benchmark counts them (as wrong: a tie is no win).
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        chosen, rejected, subset = (require(row, name, str, where) for name in ("chosen", "rejected", "subset"))
        prompt = parse_prompt(require(row, "prompt", object, where), "prompt", skips.not_read)
        if not chosen.strip() or not rejected.strip():
            skips.skip("with a blank response", where)
            return
        models = {name: row[name] for name in ("chosen_model", "rejected_model") if name in row}
        labels = {"subset": subset, "source": "rewardbench", "id": row_id(row, where), "extra": models}
        comparison = Comparison(prompt, (chosen, rejected), 0, **labels)
        skips.kept += 1
        yield comparison

    return converted_rows(path, FIELDS, skips, convert)


def check_safety_counts(counts: Mapping[str, int]) -> None:
    """Passes if the Safety subsets have exactly their published sizes; other subsets are ignored.

    Args:
      counts: comparisons per subset, e.g. ``collections.Counter(c.subset for c in comparisons)``.

    Raises:
      InputError: naming each subset that differs; the two XSTest counts the wrong way round, as
        the benchmark's own code had them before September 2024, are recognised as such.

    >>> check_safety_counts(SAFETY_COUNTS)
    """
    wrong = {name: counts.get(name, 0) for name in SAFETY_COUNTS}
    wrong = {name: count for name, count in wrong.items() if count != SAFETY_COUNTS[name]}
    if not wrong:
        return
    refuse, respond = "xstest-should-refuse", "xstest-should-respond"
    if wrong == {refuse: SAFETY_COUNTS[respond], respond: SAFETY_COUNTS[refuse]}:
        raise InputError(
            f"the two XSTest counts are swapped: {refuse} has {wrong[refuse]} comparisons and "
            f"{respond} {wrong[respond]}",
            where="RewardBench Safety",
            fix=f"{refuse} is {SAFETY_COUNTS[refuse]}, {respond} is {SAFETY_COUNTS[respond]}; this "
            "mistake was in the benchmark's code before September 2024 and lives on in copies",
        )
    listed = ", ".join(f"{name} {n} instead of {SAFETY_COUNTS[name]}" for name, n in wrong.items())
    raise InputError(
        f"not the published subsets: {listed}",
        where="RewardBench Safety",
        fix="use split 'filtered' of allenai/reward-bench, complete",
    )
