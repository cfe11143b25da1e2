"""LLM-as-a-judge on pairs: which of two responses is better.

Which response is shown first is random by the seed (judges favour a position), or both orders are asked. A tie, and an
answer without a verdict, count one half. Verdicts come from the same judges as ratings: servers, batch files, this
machine's own devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.data.comparison import Comparison
from encore_jax.errors import InputError
from encore_jax.judge.journal import Journal
from encore_jax.judge.pair_prompts import SAFE_AND_HELPFUL, PairPrompt, PairQuestion
from encore_jax.judge.question import Key, conversation_id

SAID = {1.0: "A", 0.0: "B", 0.5: "tie", None: "error"}
"""A rating as the word that stands in the file of verdicts."""


def pair_questions(
    comparisons: Iterable[Comparison], seed: int, *, prompt: PairPrompt = SAFE_AND_HELPFUL, both: bool = False
) -> Iterator[PairQuestion]:
    """Each pair in an order that its content and the seed decide, or in both orders.

    Raises:
      InputError: a comparison of other than two responses.
    """
    rule = prompt.rule
    for i, comparison in enumerate(comparisons):
        where = f"comparison {comparison.id or i}"
        if len(comparison.responses) != 2:
            raise InputError(f"{len(comparison.responses)} responses", where=where, fix="judge pairs only")
        name = conversation_id(comparison.prompt, comparison.responses)
        for first in (0, 1) if both else (shown_first(name, seed),):
            a, b = comparison.responses[first], comparison.responses[1 - first]
            yield PairQuestion(Key(name, first, rule.name), comparison.prompt, a, b, rule)


def shown_first(conversation: str, seed: int) -> int:
    """0 or 1, each for half of all conversations."""
    return hashlib.sha256(f"{conversation} {seed}".encode()).digest()[0] & 1


def write_verdicts(
    path: Path, comparisons: Iterable[Comparison], journal: Journal, questions: Iterable[PairQuestion]
) -> dict[str, int]:
    """Writes every verdict, as `encore_jax.evaluation.verdicts` reads them; the file appears whole or not at all.

    One JSON line for each order in which a comparison was put: its `id`, its `conversation` (see `conversation_id`),
    `first`, which response was shown as A, and `verdict`: A, B, tie or error. A comparison that nobody asked about has
    an error.

    Args:
      path: the file.
      comparisons: pairs.
      journal: of the judge.
      questions: what this run asks; verdicts in other orders, which another run left in the journal, are not its own.

    Returns:
      Counts: comparisons, verdicts, undecided (exactly one half), without_verdict (orders asked without one),
      for_the_first and for_the_second (verdicts by the place of the response preferred), and, where both orders were
      asked, consistent and contradicting pairs of verdicts.
    """
    names = ("comparisons", "verdicts", "undecided", "without_verdict", "for_the_first", "for_the_second")
    counts = dict.fromkeys((*names, "consistent", "contradicting"), 0)
    orders: dict[str, set[int]] = {}
    for question in questions:
        orders.setdefault(question.key.conversation, set()).add(question.key.response)
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        for comparison in comparisons:
            name = conversation_id(comparison.prompt, comparison.responses)
            found = {first: rating for _, first, _, rating in journal.rows([name], "rating")}
            said = {first: found.get(first) for first in sorted(orders.get(name, {0}))}
            credit = [0.5 if r is None else r if first == 0 else 1.0 - r for first, r in said.items()]
            counts["comparisons"] += 1
            counts["verdicts"] += sum(r is not None for r in said.values())
            counts["undecided"] += sum(credit) == len(credit) / 2
            counts["without_verdict"] += sum(r is None for r in said.values())
            counts["for_the_first"] += sum(r == 1.0 for r in said.values())
            counts["for_the_second"] += sum(r == 0.0 for r in said.values())
            if len(said) == 2 and None not in said.values():
                counts["consistent" if credit[0] == credit[1] else "contradicting"] += 1
            for first, rating in said.items():
                row = {"id": comparison.id, "conversation": name, "first": first, "verdict": SAID[rating]}
                file.write(json.dumps(row) + "\n")
    return counts
