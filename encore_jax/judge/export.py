"""From a journal to rated comparisons and rated responses, masked where there is no rating.

Ratings are exported on the unit scale, whatever the judge's own: a rating P(Yes) - P(No) in [-1, 1] becomes
(rating + 1) / 2. They are oriented by the rules' directions in memory, and as the judge gave them in files, as
everywhere in this project.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

import numpy as np

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.errors import InputError
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_file import sound
from encore_jax.judge.question import Key, conversation_id
from encore_jax.rules import RulePool

CHUNK = 256
"""Comparisons looked up together."""


def rated_comparisons(
    comparisons: Iterable[Comparison], journal: Journal, pool: RulePool, asked: Container[Key] | None = None
) -> Iterator[Comparison]:
    """Each comparison with the judge's ratings ``[n, K]`` and their mask, and in `extra`: who judged, and relevance.

    `extra["relevance"]` holds n numbers per rule, None where the judge gave none; it is left out if there are none at
    all. `extra["judge"]` names the judge. Ratings that the comparison had are replaced.

    Args:
      comparisons: streamed.
      journal: of the judge.
      pool: the rules.
      asked: the questions of this run, where it does not ask about all rules; what another run left in the journal
        about others is not its own.

    Raises:
      InputError: a rating lies outside the judge's declared scale.
    """
    comparisons, judge = iter(comparisons), _judge(journal)
    while chunk := list(itertools.islice(comparisons, CHUNK)):
        ids = [[conversation_id(c.prompt, (response,)) for response in c.responses] for c in chunk]
        with sound(journal.path):
            table, place = _looked_up({name for names in ids for name in names}, journal, pool, asked)
        for comparison, names in zip(chunk, ids, strict=True):
            ratings, relevance = table[[place[name] for name in names]].swapaxes(0, 1)
            yield replace(
                comparison,
                rules=pool.names,
                ratings=np.nan_to_num(ratings).astype(np.float32),
                mask=~np.isnan(ratings),
                extra=dict(comparison.extra) | judge | _relevance(pool, relevance),
            )


def rated_responses(
    comparisons: Iterable[Comparison], journal: Journal, pool: RulePool, asked: Container[Key] | None = None
) -> Iterator[RatedResponse]:
    """Each different response once, with the judge's ratings ``[K]``; those without any rating are left out."""
    met: set[str] = set()
    for c in rated_comparisons(comparisons, journal, pool, asked):
        for i, response in enumerate(c.responses):
            name = conversation_id(c.prompt, (response,))
            if name not in met and c.mask[i].any():
                met.add(name)
                extra = {"judge": c.extra["judge"]}
                if "relevance" in c.extra:
                    extra["relevance"] = {rule: values[i] for rule, values in c.extra["relevance"].items()}
                yield RatedResponse(
                    c.prompt, response, pool.names, c.ratings[i], c.mask[i], c.subset, c.source, name, extra
                )


def _looked_up(
    conversations: set[str], journal: Journal, pool: RulePool, asked: Container[Key] | None
) -> tuple[np.ndarray, dict[str, int]]:
    """Oriented unit ratings and relevances float64 ``[N, 2, K]``, NaN where there is none, and each one's row."""
    place = {name: i for i, name in enumerate(sorted(conversations))}
    table = np.full((len(place), 2, len(pool)), np.nan)
    column = {journal.rule_id(rule.name): k for k, rule in enumerate(pool)}
    by_blob = {bytes.fromhex(name): i for name, i in place.items()}
    found = [
        (by_blob[blob], column[rule], rating, np.nan if relevance is None else relevance)
        for blob, _, rule, rating, relevance in journal.rows(place, "rating, relevance")
        if rating is not None and rule in column and _is_asked(asked, blob, journal.rule_name(rule))
    ]
    if found:
        row, k, rating, relevance = (np.array(values) for values in zip(*found, strict=True))
        table[row, 0, k], table[row, 1, k] = rating, relevance
    low, high = journal.identity.scale
    outside = np.argwhere(~((table[:, 0] >= low) & (table[:, 0] <= high) | np.isnan(table[:, 0])))
    if len(outside):
        n, k = outside[0]
        raise InputError(
            f"rating {table[n, 0, k]} is not on the judge's scale from {low:g} to {high:g}",
            where=f"{journal.path}, rule {pool[int(k)].name!r}",
            fix="declare the judge's scale in its identity",
        )
    unit = (table[:, 0] - low) / (high - low)
    table[:, 0] = np.where(pool.directions[None] < 0, 1.0 - unit, unit)
    return table, place


def _is_asked(asked: Container[Key] | None, conversation: bytes, rule: str | None) -> bool:
    return asked is None or Key(conversation.hex(), 0, rule or "") in asked


def _relevance(pool: RulePool, relevance: np.ndarray) -> dict:
    if np.isnan(relevance).all():
        return {}
    columns = np.round(relevance, 6).T.tolist()
    named = zip(pool.names, columns, strict=True)
    return {"relevance": {name: [None if v != v else v for v in column] for name, column in named}}


def _judge(journal: Journal) -> dict:
    told = journal.identity
    return {
        "judge": {
            "kind": told.kind,
            "model": told.model,
            "label": told.label,
            "prompt": told.prompt,
            "scale": list(told.scale),
            "digest": told.digest,
        }
    }
