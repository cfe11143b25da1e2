"""Comparisons with the ratings that a judge gave, and what became of every question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.jsonl import write_comparisons
from encore_jax.judge.question import Identity
from encore_jax.rules import RulePool
from encore_jax.shown import Shown
from encore_jax.terminal_text import one_line

COMPARISONS, POOL = "comparisons.jsonl", "pool.yaml"
MOST_PROBLEMS = 8
"""Kinds of missing ratings that are named; the others are counted together."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class JudgedComparisons(Shown, Sequence, shown_by="encore_jax.report.judged_page"):
    """Rated comparisons, as a sequence of `Comparison`; what `encore_jax.rate` returns.

    Ratings are oriented (higher is better) and on the scale from 0 to 1; `mask` says which exist.

    Attributes:
      comparisons: with ratings ``[n, K]``, in the order in which they were passed.
      pool: the K rules.
      judge: who rated.
      journal: the file of all answers.
      questions: how many there were, a rule about a response each.
      problems: how many of them have no rating, by what was wrong.
      words: what the judge said the last time, by the same.

    >>> import tempfile
    >>> import encore_jax as enc
    >>> pairs = [enc.Comparison((enc.Message("user", "Hi"),), ("Hello!", "Go."), 0)]
    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Go.", "kind": 1}]
    >>> pool, judge = enc.RulePool.from_sentences({"kind": "It is kind."}), enc.judges.table(rows)
    >>> rated = enc.rate(pairs, pool, judge=judge, journal=Path(tempfile.mkdtemp()) / "answers.sqlite")
    >>> rated[0].ratings.tolist(), rated.rated
    ([[1.0], [0.0]], 2)
    """

    comparisons: tuple[Comparison, ...]
    pool: RulePool
    judge: Identity
    journal: Path
    questions: int
    problems: Mapping[str, int]
    words: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.comparisons)

    def __getitem__(self, index):
        return self.comparisons[index]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.comparisons)

    @property
    def rated(self) -> int:
        """How many questions have a rating."""
        return self.questions - sum(self.problems.values())

    def sentences(self) -> list[str]:
        """How many ratings there are, why others are missing, and where the answers are."""
        responses, rules = len({(c.prompt, r) for c in self for r in c.responses}), len(self.pool)
        lines = [
            f"{self.rated:,} of {self.questions:,} ratings: {responses:,} responses on {rules} "
            f"rule{'s' if rules != 1 else ''}, {self.judge.label} by {one_line(self.judge.model)}."
        ]
        named = sorted(self.problems.items(), key=lambda item: -item[1])
        for problem, count in named[:MOST_PROBLEMS]:
            said = self.words.get(problem, "")
            lines.append(
                f"{count:,} without a rating: {one_line(problem)}{f'; the last one said {said!r}' * bool(said)}."
            )
        if rest := named[MOST_PROBLEMS:]:
            lines.append(f"{sum(n for _, n in rest):,} without a rating for {len(rest)} other reasons.")
        return [*lines, f"Answers are kept in {self.journal}; the same call asks only what is missing."]

    def save(self, folder: str | Path) -> Path:
        """Writes comparisons.jsonl and pool.yaml; the folder is made if it is not there.

        `read_comparisons(folder / "comparisons.jsonl", pool=RulePool.load(folder / "pool.yaml"))` reads them, and
        `encore fit` and `encore reliability` take them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.pool.to_yaml(folder / POOL)
        write_comparisons(folder / COMPARISONS, self.comparisons, pool=self.pool)
        return folder
