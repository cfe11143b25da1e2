"""The halo stage of a rating run: a sample asked rule by rule, in calls, and in calls in the reversed order."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encore_jax.data.comparison import Comparison, prompt_key
from encore_jax.data.split import hash_unit
from encore_jax.evaluation.halo import measure_halo
from encore_jax.evaluation.halo_of_ratings import WAYS
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import rating_questions
from encore_jax.judge.rate import rate
from encore_jax.recipes.stages.answering import estimate_of
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.judges import Rules, RunJudge, make_judge
from encore_jax.report.halo_table import halo_text
from encore_jax.rules import RulePool


class HaloResult(NamedTuple):
    """What was measured, as JSON values; see `encore_jax.evaluation.halo.Halo` and `way_cost`."""

    halo: dict[str, Any]
    cost: dict[str, Any]


def halo(data: Ingested, asked: RunJudge, rules: Rules, sample: int, seed: int, folder: Path) -> HaloResult:
    """Asks about some responses in three ways, and compares what is said.

    Answers go to the run's journal, so that the run itself asks none of the calls again; those in the reversed order to
    a journal beside it, because the run's own summary counts all that its judge was asked.

    Args:
      data: whose comparisons are rated.
      asked: who rates, several rules in a call.
      rules: what is asked about.
      sample: at least so many responses are asked about, of random comparisons; all if there are no more.
      seed: of the sample and of the intervals.
      folder: the stage's; the journal lies beside it.

    Raises:
      InputError: the judge cannot go on, or one way gives no rating at all; what was answered is in the journal.
    """
    chosen, pool = some_comparisons(data.comparisons, sample, seed), rules.pool
    ratings, cost, judge = {}, {}, ""
    for way in WAYS:
        one = _asked_so(asked, way)
        own = RulePool(pool.rules[::-1], pool.name) if way == WAYS[2] else pool
        journal = asked.judge.journal_in(folder.parent)
        journal = journal.with_name(f"{journal.stem}-{way}{journal.suffix}") if way == WAYS[2] else journal
        ratings[way], cost[way], judge = _rated(one, chosen, own, pool.names, journal, seed)
    group = np.unique([prompt_key(c.prompt) for c in chosen for _ in c.responses], return_inverse=True)[1].reshape(-1)
    found = measure_halo(*(ratings[way] for way in WAYS), pool.names, group, seed=seed)
    return HaloResult(found.to_json() | {"rules_per_call": asked.judge.call_size, "judge": judge}, cost)


def some_comparisons(comparisons: Sequence[Comparison], responses: int, seed: int) -> list[Comparison]:
    """Comparisons of different prompts and responses, in random order, until they have so many responses."""
    chosen, seen, count = [], set(), 0
    for comparison in sorted(comparisons, key=lambda c: hash_unit(repr((prompt_key(c.prompt), c.responses)), seed)):
        name = prompt_key(comparison.prompt)
        if name not in seen and count < responses:
            seen.add(name)
            chosen.append(comparison)
            count += len(comparison.responses)
    return chosen


def _asked_so(asked: RunJudge, way: str) -> RunJudge:
    one = copy.copy(asked)
    if way == WAYS[0]:
        one.judge = dataclasses.replace(asked.judge, rules_per_call=ISOLATED)
    return one


def _rated(
    asked: RunJudge, comparisons: list[Comparison], pool: RulePool, names: Sequence[str], path: Path, seed: int
) -> tuple[np.ndarray, dict[str, Any], str]:
    """Ratings ``[N, K]`` in the order of `names`, what they cost, and the judge's name."""
    judge = make_judge(asked, pool, ())
    questions = functools.partial(rating_questions, comparisons, pool, asked.judge.call_size)
    with Journal(path, judge.identity, pool) as journal:
        told = estimate_of(asked, questions(), journal.identity, seed)
        open_questions = sum(1 for _ in journal.pending(questions(), asked.judge.policy))
    start = time.monotonic()
    options = {"journal": path, "policy": asked.judge.policy, "hopeless": asked.judge.hopeless}
    judged = rate(comparisons, pool, judge=judge, **options)
    seconds = time.monotonic() - start
    rows = [np.where(mask, ratings, np.nan) for c in judged for ratings, mask in zip(c.ratings, c.mask, strict=True)]
    cost = {
        "requests": told.requests,
        "prompt_tokens": round(told.prompt_tokens),
        "fresh_tokens": round(told.fresh_tokens),
        "answer_tokens": told.answer_tokens,
        "seconds": round(seconds, 3) if open_questions == told.questions else None,
        "unrated": dict(judged.problems),
    }
    place = [pool.names.index(name) for name in names]
    return np.stack(rows)[:, place].astype(np.float64), cost, judged.judge.model


def show_halo(measured: HaloResult) -> None:
    """Prints the table and the sentence."""
    print(halo_text(measured.halo, measured.cost))
