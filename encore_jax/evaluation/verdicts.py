"""LLM-as-a-judge as a baseline: a file of verdicts on comparisons becomes rewards.

One JSON object a line (or any format of `read_rows`), as `encore_jax.judge.pairwise.write_verdicts` writes them:
``conversation``, or in a file from elsewhere ``id`` of the comparison; ``verdict``: A, B, tie or error, also as [[A]];
and ``first``, which response (0, the default, or 1) the judge saw as A. A comparison judged several times, as in both
orders, gets the share of its verdicts. A tie or an error counts half, as in RewardBench.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from encore_jax.data import Comparison
from encore_jax.data.row_labels import row_id
from encore_jax.data.rows import located, read_rows, require
from encore_jax.errors import InputError
from encore_jax.judge.question import conversation_id

_SHARE = {"A": 1.0, "B": 0.0, "tie": 0.5, "error": 0.5}


def verdict_rewards(path: str | Path, comparisons: Sequence[Comparison]) -> tuple[np.ndarray, dict[str, int]]:
    """The judge's rewards, fp32 ``[N, 2]``: the share of its verdicts for each response, in the comparison's order.

    Returns:
      The rewards, and how often the judge said what.

    Raises:
      InputError: a verdict or order of another kind, or a comparison without any verdict.
    """
    shares: dict[tuple[str, str], list[float]] = {}
    said: Counter[str] = Counter()
    for where, row in read_rows(path):
        verdict, first = require(row, "verdict", str, where).strip("[] "), row.get("first", 0)
        if verdict not in _SHARE or type(first) is not int or first not in (0, 1):
            raise InputError(
                f"verdict {row['verdict'][:60]!r}, first {str(first)[:60]}",
                where=where,
                fix=f"the verdict is one of {', '.join(_SHARE)}, first is 0 or 1",
            )
        said[verdict] += 1
        share = _SHARE[verdict]
        field = "conversation" if "conversation" in row else "id"
        if field == "id":
            require(row, field, object, where)
        with located(where):
            name = field, row_id(row, "", field) if field == "id" else require(row, field, str, where)
        if not name[1]:
            fix = "name the comparison, by its id or its conversation"
            raise InputError("is empty, and names no comparison", where=f"{where}, field {field!r}", fix=fix)
        shares.setdefault(name, []).append(share if first == 0 else 1 - share)
    rewards = np.zeros((len(comparisons), 2), np.float32)
    ids = Counter(comparison.id for comparison in comparisons)
    for i, comparison in enumerate(comparisons):
        name = "conversation", conversation_id(comparison.prompt, comparison.responses)
        given = shares.get(name) or shares.get(("id", comparison.id))
        if given is not None and name not in shares and ids[comparison.id] > 1:
            problem = f"{ids[comparison.id]} comparisons have the id {comparison.id!r}, and one verdict"
            raise InputError(problem, where=str(path), fix="name conversations, or give every comparison its own id")
        if given is None:
            raise InputError(
                f"no verdict on comparison {comparison.id or i}",
                where=str(path),
                fix="let the judge see every comparison",
            )
        share = float(np.mean(given))
        rewards[i] = share, 1 - share
    return rewards, dict(said)
