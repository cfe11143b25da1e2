"""A panel: several judges that were asked the same questions, their ratings side by side, ``[J, N, n, K]``.

A judge that answers at random (a language model at a temperature) may be asked several times; its answers are *draws*
of one judge, each a row of its own. Wherever judges are averaged, draws are averaged first, so that a judge counts once
however often it was asked.

Letters: J rows (draws of judges), N comparisons, n responses, K rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.data.comparison import Comparison, prompt_key
from encore_jax.errors import InputError

FEWEST_JUDGES = 2
"""One judge alone has nobody to agree with."""


class Panel(NamedTuple):
    """Ratings of several judges on the same questions.

    Attributes:
      names: J different names of the rows.
      judges: of every row the judge that it is a draw of.
      rules: K names.
      ratings: fp32 ``[J, N, n, K]``, oriented (higher is better), 0 where masked.
      mask: bool ``[J, N, n, K]``, which ratings exist.
      preferred: ``[N]``, the response that people prefer, -1 where nobody chose.
      prompt: ``[N]``, equal numbers for equal prompts.
    """

    names: tuple[str, ...]
    judges: tuple[str, ...]
    rules: tuple[str, ...]
    ratings: Float[np.ndarray, "J N n K"]
    mask: Bool[np.ndarray, "J N n K"]
    preferred: Int[np.ndarray, " N"]
    prompt: Int[np.ndarray, " N"]


def check_judges(names: Sequence[str], judges: Sequence[str] | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the rows, and the judge that each row is a draw from.

    Args:
      names: of the rows.
      judges: of every row its judge; each row is a judge of its own if left out.

    Raises:
      InputError: fewer than two rows, two of one name, a name without letters, or as many judges as rows are missing.

    >>> check_judges(["a#1", "a#2", "b"], ["a", "a", "b"])[1]
    ('a', 'a', 'b')
    """
    for what, given in (("judges", names), ("draws_of", judges)):
        if isinstance(given, str | bytes) or not isinstance(given, Iterable | None):
            raise InputError(f"is a {type(given).__name__}, no list of names", where=what, fix="one name per row")
    names = tuple(map(str, names))
    judges = names if judges is None else tuple(map(str, judges))
    if len(names) < FEWEST_JUDGES:
        fix = "add a judge, or ask this one several times; of one judge's ratings reliability() tells what can be told"
        raise InputError(f"got {len(names)}; a panel has at least {FEWEST_JUDGES}", where="judges", fix=fix)
    for i, name in enumerate(names):
        if name in names[:i]:
            fix = "give each its own; rows that are draws of one judge are told by draws_of"
            raise InputError(f"two are called {name!r}", where="judges", fix=fix)
        if not name.strip():
            raise InputError("is empty", where=f"judges[{i}]", fix="give it a name")
    if len(judges) != len(names):
        problem = f"names {len(judges)} judges for {len(names)} rows"
        raise InputError(problem, where="draws_of", fix="name the judge of every row, or leave it out")
    return names, judges


def stack_panel(judged: Mapping[str, Iterable[Comparison]], judges: Sequence[str] | None = None) -> Panel:
    """Puts judges' ratings side by side; reads all of them in step and keeps numbers only.

    Args:
      judged: by name of the row, the comparisons with that judge's ratings, in one order.
      judges: of every row the judge that it is a draw of; each is a judge of its own if left out.

    Raises:
      InputError: fewer than two, other comparisons, other rules, or a judge without any rating.

    >>> from encore_jax.data.comparison import Message
    >>> one = Comparison((Message("user", "Hi"),), ("Hello!", "Bye."), 0, ("kind",), [[1.0], [0.2]])
    >>> panel = stack_panel({"a": [one], "b": [replace(one, mask=[[True], [False]])]})
    >>> panel.ratings.shape, panel.mask[:, 0, :, 0].tolist()
    ((2, 1, 2, 1), [[True, True], [True, False]])
    """
    names, judges = check_judges(list(judged), judges)
    ratings, masks, preferred, prompts = [], [], [], []
    rules = ()
    for rows in in_step(judged):
        rules = rows[0].rules
        ratings.append(np.stack([np.where(row.mask, row.ratings, 0) for row in rows]))
        masks.append(np.stack([row.mask for row in rows]))
        preferred.append(-1 if rows[0].preferred is None else rows[0].preferred)
        prompts.append(prompt_key(rows[0].prompt))
    if not ratings:
        raise InputError("there is no comparison", where="panel", fix="rate some")
    most = max(part.shape[1] for part in ratings)
    shape = (len(names), len(ratings), most, len(rules))
    stacked, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for i, (values, where) in enumerate(zip(ratings, masks, strict=True)):
        stacked[:, i, : values.shape[1]], mask[:, i, : values.shape[1]] = values, where
    for name, part in zip(names, mask, strict=True):
        if not part.any():
            raise InputError("has no rating at all", where=f"judge {name!r}", fix="leave it out, or have it rate")
    prompt = np.unique(prompts, return_inverse=True)[1].reshape(-1)
    return Panel(names, judges, rules, stacked, mask, np.array(preferred), prompt)


def in_step(judged: Mapping[str, Iterable[Comparison]]) -> Iterator[tuple[Comparison, ...]]:
    """Every comparison as each judge rated it, in turn.

    Raises:
      InputError: they are not the same comparisons, in the same order, on the same rules; or one has no ratings.
    """
    names = list(judged)
    for i, rows in enumerate(itertools.zip_longest(*judged.values())):
        there = [name for name, row in zip(names, rows, strict=True) if row is not None]
        if len(there) < len(names):
            missing = next(name for name in names if name not in there)
            problem = f"has {i} comparisons, and judge {there[0]!r} has more"
            raise InputError(problem, where=f"judge {missing!r}", fix="have all judges rate the same comparisons")
        first = rows[0]
        for name, row in zip(names, rows, strict=True):
            where = f"judge {name!r}, comparison {row.id or i}"
            if row.ratings is None:
                raise InputError("has no ratings", where=where, fix="have it rated first, or leave the judge out")
            if (row.prompt, row.responses) != (first.prompt, first.responses):
                problem = f"is about another prompt or other responses than judge {names[0]!r}'s at this place"
                raise InputError(problem, where=where, fix="have all judges rate the same comparisons, in one order")
            if row.rules != first.rules:
                problem = f"is rated on {_named(row.rules)}, and by judge {names[0]!r} on {_named(first.rules)}"
                raise InputError(problem, where=where, fix="ask all judges about one pool of rules")
        yield rows


def panel_comparisons(
    judged: Mapping[str, Iterable[Comparison]], judges: Sequence[str], label: str, fewest: int = 0
) -> Iterator[Comparison]:
    """Every comparison with the mean of the judges' ratings, and of their relevance where they give any.

    Judges differ in how severe they are. If one is missing for one response and not for the other, the mean of those
    who are left shifts by that difference, so a mean is made only where enough judges rated.

    Args:
      judged: by name of the row, in one order; read once.
      judges: of every row the judge that it is a draw of; a judge's draws are averaged first.
      label: what the ratings are called.
      fewest: a mean needs ratings by so many judges; 0 means all of them.

    Raises:
      InputError: as `stack_panel`.
    """
    own = judge_numbers(judges)
    fewest = fewest or len(set(judges))
    told = {"judge": {"kind": "panel", "model": f"mean of {', '.join(dict.fromkeys(judges))}", "label": label}}
    for rows in in_step(judged):
        values = np.stack([np.where(row.mask, row.ratings, np.nan) for row in rows]).astype(np.float64)
        mean, count = judge_mean(values, own)
        mask = count >= fewest
        extra = {name: value for name, value in rows[0].extra.items() if name != "relevance"}
        relevance = _mean_relevance(rows, own)
        yield replace(
            rows[0],
            ratings=np.where(mask, mean, 0).astype(np.float32),
            mask=mask,
            extra=extra | told | ({"relevance": relevance} if relevance else {}),
        )


def judge_numbers(judges: Sequence[str]) -> Int[np.ndarray, " J"]:
    """The number of every row's judge, in the order in which they first occur.

    >>> judge_numbers(["b", "b", "a"]).tolist()
    [0, 0, 1]
    """
    order = list(dict.fromkeys(judges))
    return np.array([order.index(judge) for judge in judges])


def judge_mean(
    values: Float[np.ndarray, "J ..."], judge: Int[np.ndarray, " J"]
) -> tuple[Float[np.ndarray, "..."], Int[np.ndarray, "..."]]:
    """Mean over judges, each of which counts once, and how many there are; NaN where there are none.

    Args:
      values: NaN where there is none.
      judge: the number 0, 1, ... of every row's judge.

    >>> [part.tolist() for part in judge_mean(np.array([[0.0], [1.0], [1.0]]), np.array([0, 0, 1]))]
    [[0.75], [2]]
    """
    by_judge = draw_mean(values, judge)
    known = ~np.isnan(by_judge)
    count = known.sum(0)
    total = np.where(known, by_judge, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def draw_mean(values: Float[np.ndarray, "J ..."], judge: Int[np.ndarray, " J"]) -> Float[np.ndarray, "Q ..."]:
    """Mean over the draws of each of Q judges, of those that there are; NaN where there is none."""
    means = []
    for number in range(int(judge.max()) + 1):
        own = values[judge == number]
        known = ~np.isnan(own)
        count = known.sum(0)
        means.append(np.where(count > 0, np.where(known, own, 0).sum(0) / np.maximum(count, 1), np.nan))
    return np.stack(means)


def _mean_relevance(rows: Sequence[Comparison], judge: Int[np.ndarray, " J"]) -> dict:
    """By rule and response the mean relevance over the judges that give one; empty if none does."""
    given = [row.extra.get("relevance") or {} for row in rows]
    if not any(given):
        return {}
    shape = (len(rows[0].responses), len(rows[0].rules))
    values = np.full((len(rows), *shape), np.nan)
    for j, told in enumerate(given):
        for k, rule in enumerate(rows[0].rules):
            for i, value in enumerate(told.get(rule, ())):
                values[j, i, k] = np.nan if value is None else value
    mean = np.round(judge_mean(values, judge)[0], 6).T.tolist()
    return {rule: [None if v != v else v for v in column] for rule, column in zip(rows[0].rules, mean, strict=True)}


def _named(rules: Sequence[str]) -> str:
    shown = ", ".join(rules[:4])
    return f"{len(rules)} rules ({shown}{', ...' if len(rules) > 4 else ''})"
