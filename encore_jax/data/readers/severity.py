"""Comparisons from people's severity ratings: of two responses to one prompt the less harmful one is preferred."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from encore_jax.data.comparison import Comparison, Message, RatedResponse
from encore_jax.data.readers.pyrit import PYRIT_HARM_RULES
from encore_jax.errors import InputError


def severity_comparisons(
    rated: Iterable[RatedResponse],
    *,
    rules: Sequence[str] = PYRIT_HARM_RULES,
    min_gap: float = 0.0,
    most_per_prompt: int = 0,
    seed: int | None = None,
) -> Iterator[Comparison]:
    """Human-labelled pairs: two responses to one prompt, rated differently on one rule.

    The less severe response (the higher oriented rating) is preferred. Each rule gives its own
    pairs, and its name is the subset; both responses' full ratings come along. ``extra`` holds the
    ``gap`` between the two ratings.

    Beware: a prompt with m responses gives up to m(m-1)/2 pairs that are far from independent;
    split and resample by prompt, and watch for the few prompts that dominate a subset.

    Args:
      rated: rated responses of one pool, e.g. from `read_pyrit`.
      rules: which rules to compare on, in this order.
      min_gap: pairs whose ratings differ by less are left out; equal ones always are.
      most_per_prompt: of each prompt and rule, keep at most so many pairs, drawn at random; 0 keeps all.
      seed: None puts the preferred response first; a number randomises the order.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    smallest = max(min_gap, 0.0) - 1e-6  # ratings are float32, so a gap of 1/4 may fall just short
    by_prompt: dict[tuple[Message, ...], list[RatedResponse]] = {}
    for record in rated:
        by_prompt.setdefault(record.prompt, []).append(record)
    draw = np.random.default_rng(seed)
    for rule in rules:
        for records in by_prompt.values():
            pairs = list(_ordered_pairs(records, rule, smallest))
            if most_per_prompt and len(pairs) > most_per_prompt:
                chosen = np.sort(draw.choice(len(pairs), most_per_prompt, replace=False))
                pairs = [pairs[i] for i in chosen]
            for better, worse, gap in pairs:
                swap = rng is not None and rng.random() < 0.5
                first, second = (worse, better) if swap else (better, worse)
                yield _pair(first, second, int(swap), rule, gap)


def _ordered_pairs(
    records: Sequence[RatedResponse], rule: str, smallest: float
) -> Iterator[tuple[RatedResponse, RatedResponse, float]]:
    """(better, worse, gap) of all pairs of one prompt's responses that differ enough on the rule."""
    on_rule = [(record, rating) for record in records if (rating := _rating(record, rule)) is not None]
    for (a, rating_a), (b, rating_b) in itertools.combinations(on_rule, 2):
        gap = abs(rating_a - rating_b)
        if rating_a != rating_b and gap >= smallest:
            yield (a, b, gap) if rating_a > rating_b else (b, a, gap)


def _pair(first: RatedResponse, second: RatedResponse, preferred: int, rule: str, gap: float) -> Comparison:
    if first.rules != second.rules:
        raise InputError(
            "rated with two rule pools", where=f"{first.id} and {second.id}", fix="read both with one pool"
        )
    return Comparison(
        prompt=first.prompt,
        responses=(first.response, second.response),
        preferred=preferred,
        rules=first.rules,
        ratings=np.stack([first.ratings, second.ratings]),
        mask=np.stack([first.mask, second.mask]),
        subset=rule,
        source=first.source,
        id=f"{rule}: {first.id} | {second.id}",
        extra={"gap": round(gap, 6)},
    )


def _rating(record: RatedResponse, rule: str) -> float | None:
    if rule not in record.rules:
        raise InputError(f"no rule {rule!r}", where=f"rated response {record.id}", fix="read with a pool that has it")
    k = record.rules.index(rule)
    return float(record.ratings[k]) if record.mask[k] else None
