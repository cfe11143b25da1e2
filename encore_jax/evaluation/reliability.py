"""Which rules can be trusted, with and without labels, and which weighting follows from it.

ENCORE weighs rules by the entropy of their ratings, because entropy is meant to foretell accuracy. Where it does not,
what the rules have in common may, and that needs no label either. Both are estimated here, with how sure each is.

Letters: N comparisons, K rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition import entropy_weights, pearson
from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.composition.camps import Commonality, commonality
from encore_jax.composition.checks import numbers
from encore_jax.composition.moments import correlations, grouped_moments, rating_rows, spreads
from encore_jax.composition.ties import Margin, rule_margins, weighted_margin
from encore_jax.data import Comparison
from encore_jax.errors import InputError
from encore_jax.evaluation.decision import Decision, Weighting, decide
from encore_jax.evaluation.few_labels import CHOSEN, preferred_side, which_labels
from encore_jax.evaluation.followed import follow
from encore_jax.evaluation.label_next import LabelPlace, openings, texts_of
from encore_jax.evaluation.rated_pairs import is_comparisons, rated_pairs
from encore_jax.evaluation.rated_responses import RatedResponses, response_reliabilities, single_responses
from encore_jax.evaluation.reliability_arguments import (
    check_anchor,
    check_no_texts,
    check_numbers,
    check_on_scale,
    check_room,
    checked_ids,
    checked_texts,
    record_ids,
)
from encore_jax.evaluation.rule_reliability import RuleReliability, rule_reliabilities
from encore_jax.rules import RulePool
from encore_jax.shown import Shown

if TYPE_CHECKING:
    from encore_jax.evaluation.rating_tables import OfTable

FEWEST_FOR_CORRELATION = 50
"""Labels below which the correlation of accuracy with anything says nothing."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Reliability(Shown, shown_by="encore_jax.report.reliability_page"):
    """What is known about which rules to trust.

    >>> rng = np.random.default_rng(0)
    >>> ratings = rng.normal(size=(200, 2, 1)) + 0.7 * rng.normal(size=(200, 2, 3))
    >>> found = reliability(ratings, rules=["safe", "honest", "kind"], draws=20)
    >>> found.recommended, found.label_next[:3].shape, round(float(found.shares("uniform").sum()), 3)
    ('agreement', (3,), 1.0)

    Attributes:
      rules: one entry each, in the pool's order.
      common: what the rules have in common.
      foretells: correlation over the rules with their accuracy: of "entropy" (ties half), "entropy, decided" (with the
        accuracy on comparisons that the rule decides) and "loading"; and "entropy and tie rate" of those two. Empty
        with few labels.
      camp: index of the camp in `common.camps` that the agreement weights follow; None if the pool does not split, or
        nothing says which camp is meant.
      camp_probability: of every camp, the probability that its reward is better than any other camp's; empty if the
        pool does not split or nothing is labelled.
      agreement_loading: ``[K]``, on what the agreement weights follow; None where they are refused.
      settled_by: what says which way round that is: "anchor", "labels" or "most rules"; "" where they are refused.
      weights: ``[K]`` by name; "agreement" is missing where ratings do not justify it.
      spread: ``[K]``, root mean square of the differences that a rule makes; 0 if it makes none.
      accuracy: of the reward under each of them on the labelled comparisons, ties half; empty without labels.
      better_than_uniform: of each but "uniform" the probability that it is better than "uniform"; empty without labels.
      better_than_chance: of each the probability that it is right more often than wrong; empty without labels.
      label_next: numbers of the comparisons whose labels would tell most, the most telling first.
      label_ids: what those are called.
      label_texts: how the texts of each begin, the prompt's and every response's; empty where there are no texts.
      label_place: where their labels go.
      prompts: how many there are; intervals rest on them.
      single: whether responses were rated alone, and not in comparisons.
      columns: of a table, what to know of which columns count as rules, in sentences.
    """

    rules: tuple[RuleReliability, ...]
    common: Commonality
    foretells: dict[str, float]
    camp: int | None
    camp_probability: tuple[float, ...]
    agreement_loading: Float[np.ndarray, " K"] | None
    settled_by: str
    weights: dict[Weighting, Float[np.ndarray, " K"]]
    spread: Float[np.ndarray, " K"]
    accuracy: dict[Weighting, float]
    better_than_uniform: dict[Weighting, float]
    better_than_chance: dict[Weighting, float]
    label_next: Int[np.ndarray, " n"]
    label_ids: tuple[str, ...]
    prompts: int
    single: bool = False
    columns: tuple[str, ...] = ()
    label_texts: tuple[tuple[str, ...], ...] = ()
    label_place: LabelPlace = LabelPlace()

    def shares(self, name: Weighting) -> Float[np.ndarray, " K"]:
        """How much of the reward each rule's part is under these weights: weight times spread, 1 in all.

        A rule that hardly varies can have nearly all of the weight, and move the reward by next to nothing.
        """
        part = self.weights[name] * self.spread
        return part / part.sum() if part.sum() > 0 else part

    @property
    def worse_than_chance(self) -> bool:
        """Whether the labels say that the recommended weighting prefers the worse response more often."""
        return self.better_than_chance.get(self.recommended, 1.0) <= 1 - CHOSEN

    @property
    def decision(self) -> Decision:
        """The weighting to use, and why."""
        unknown = np.full(len(self.rules), np.nan)
        of_factor = self.camp is None  # a camp's loadings have no intervals: the split itself is told by one
        return decide(
            self.common.low if of_factor else unknown,
            self.common.high if of_factor else unknown,
            justified="agreement" in self.weights,
            accuracy=self.accuracy,
            better=self.better_than_uniform,
        )

    @property
    def recommended(self) -> Weighting:
        """The weighting to use: agreement where ratings carry it and no label speaks against it, else equal weights."""
        return self.decision.use


def reliability(
    ratings: Float[Array, "N n K"] | Float[Array, "N K"] | Iterable[Comparison] | str | Path | object,
    preferred: Int[Array, " N"] | None = None,
    *,
    quality: Float[Array, " N"] | None = None,
    where: Bool[Array, "N n K"] | Bool[Array, "N K"] | None = None,
    prompt: Int[Array, " N"] | None = None,
    rules: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    texts: Sequence[Sequence[str]] | None = None,
    anchor: str | None = None,
    tau: float = 2.0,
    entropy: Float[Array, " K"] | None = None,
    labels: int = 20,
    draws: int = 1000,
    seed: int = 0,
    pool: RulePool | Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
) -> Reliability:
    """Says which of K rules to trust, from ratings of comparisons and as many labels as there are.

    Args:
      ratings: ``[N, n, K]`` of comparisons of n ≥ 2 responses, on any scale, higher is better; or rated comparisons,
        which carry their own choices, masks, prompts and rules. Of n responses every two are a pair. Or ``[N, K]`` of
        single responses: loadings then come from the ratings, and what all rules see of a prompt's difficulty counts
        as something in common. Or a table with named columns, as a pandas or polars DataFrame, a pyarrow Table, a list
        of dictionaries, or a CSV, Parquet or JSONL file (`encore_jax.data.rating_source`), which says itself what its
        rules, ids, prompts and choices are: of a table of nothing but ratings every column is a rule.
      preferred: ``[N]``, 0 to n - 1 by people, -1 where nobody chose; nobody chose at all if left out.
      quality: ``[N]``, of single responses: 0 or 1, or a grade, higher is better; NaN where nobody said. Two labelled
        responses of different quality are a comparison; each is in one at most.
      where: of the ratings' shape, which of them exist.
      prompt: ``[N]``, comparisons (or responses) of one prompt are resampled together; each has its own prompt if
        left out.
      rules: K names. Of a table, which columns are rules: all of them by name, or changes of what is chosen by names
        and values, ``["+year", "-length"]``; what is doubtful is said in the first lines of the result.
      ids: ``[N]``, what the comparisons (or responses) are called; records have their own; their numbers if left out.
      texts: ``[N]``, of every comparison its prompt and its responses (of a response, its prompt and itself), shown
        beside what to label next; records have their own; none are shown if left out.
      anchor: a rule that is known to be about quality. If the pool splits, its camp is meant; and what rules have in
        common is turned so that the anchor follows it.
      tau: temperature of the entropy weights.
      entropy: ``[K]``, measured elsewhere, for the entropy weights; of these ratings if left out.
      labels: how many comparisons to name in `label_next`.
      draws: of the bootstrap over prompts.
      seed: of everything random.
      pool: of a table, its rules and which way round they are; higher is better by every rule if left out. A file is
        read with the pool.yaml beside it, if there is one.
      scale: lowest and highest possible rating, by every rule; inferred if left out.

    Raises:
      InputError: a rating off the scale, or far from all others where no scale is given; fewer than
        three rules, shapes that do not fit, nothing rated, ratings that exist and are not finite, an unknown anchor, or
        one that agrees with no other rule; and arguments of another kind, or out of bounds.

    >>> rng = np.random.default_rng(0)
    >>> quality = rng.normal(size=(500, 2, 1))
    >>> ratings = np.round(2 * quality * [1.0, 1.0, 1.0, 0.0] + rng.normal(size=(500, 2, 4)))
    >>> found = reliability(ratings, rules=["safe", "honest", "kind", "coin"], draws=100)
    >>> found.recommended, found.common.verdict, round(float(found.weights["agreement"][3]), 1)
    ('agreement', 'one common factor', 0.0)
    >>> print(repr(found).splitlines()[0][:60])
    Use agreement weights. 3 of 4 rules follow one common factor

    >>> rows = [dict(zip(["safe", "honest", "kind"], row)) for row in ratings[:, 0, :3].tolist()]
    >>> [line.rule for line in reliability(rows, draws=20).rules]  # or pandas.DataFrame(rows), or "ratings.csv"
    ['safe', 'honest', 'kind']
    """
    check_numbers(labels, draws, seed, tau)
    check_anchor(anchor)
    given = {"preferred": preferred, "quality": quality, "where": where, "prompt": prompt, "rules": rules, "ids": ids}
    given["texts"] = texts
    if (table := _of_a_table(ratings, pool, given, scale)) is not None:
        options = {"anchor": anchor, "tau": tau, "entropy": entropy, "labels": labels, "draws": draws, "seed": seed}
        found = reliability(**table.arguments, **options)
        return dataclasses.replace(found, columns=table.columns, label_place=table.label_place)
    if pool is not None:
        raise InputError("is of a table, and this is none", where="pool", fix="turn the ratings, and give rules=")
    records = None
    if is_comparisons(ratings):
        records = list(ratings)
        ratings, ids = iter(records), record_ids(records, ids)
        check_no_texts(texts)
    alone = single_responses(ratings, preferred, quality, where, prompt, rules, seed)
    if alone is not None:
        data, rows = alone.pairs, rating_rows(alone.ratings, alone.mask, alone.prompt)
        count = len(alone.ratings)
    else:
        data = rated_pairs(ratings, preferred, where, prompt, rules)
        count = len(records) if is_comparisons(ratings) else len(ratings)
        rows = rating_rows(data.ratings, data.mask, data.prompt)
    ratings, mask, sign, prompt, names, comparison, labelled = data
    check_room(draws, len(names))
    if alone is None:
        flat = (part.reshape(-1, len(names)) for part in (ratings, mask))
        check_on_scale(*flat, names, scale, 2, comparison)
    else:
        check_on_scale(alone.ratings, alone.mask, names, scale)
    ids, texts = checked_ids(count, ids), checked_texts(count, texts)
    entropy = None if entropy is None else _given_entropy(entropy, len(names))
    groups = grouped_moments(rows, seed)
    common = commonality(groups, draws=draws, seed=seed)
    total = groups.total()
    correlation, together = (np.asarray(part) for part in correlations(total))
    spread = spreads(total)

    both = mask.all(1)
    difference, tolerance = (np.where(both, part, 0) for part in rule_margins(ratings[:, 0], ratings[:, 1]))

    def margin(weights) -> Margin:
        return weighted_margin(difference, tolerance, np.asarray(weights, np.float64))

    followed = follow(common, correlation, together, spread, margin, sign, prompt, names, anchor)
    if len(followed.parts) == 1 and (followed.parts[0].loading * common.loading)[~np.isnan(common.loading)].sum() < 0:
        common = common._replace(loading=-common.loading, low=-common.high, high=-common.low)
    lines = rule_reliabilities(names, ratings, mask, sign, common)
    lines = lines if alone is None else response_reliabilities(alone, lines)
    entropy = np.array([line.entropy for line in lines]) if entropy is None else entropy
    weights: dict = {"uniform": np.full(len(names), 1 / len(names))}
    if np.isfinite(entropy).all():
        weights["entropy"] = np.asarray(entropy_weights(entropy, tau), np.float64)
    if followed.chosen is not None:
        weights["agreement"] = followed.chosen.weights
    rewards = {name: margin(values) for name, values in weights.items()}
    accuracy, better, above_chance = _by_labels(rewards, sign, prompt)
    split = [part.weights for part in followed.parts[:2]] if len(followed.parts) > 1 else []
    rivals = split or [weights[n] for n in ("agreement", "uniform") if n in weights]
    if len(followed.parts) == 1 and "agreement" not in weights:  # which way round would tell most
        either_way = np.nan_to_num(followed.parts[0].loading)
        rivals = [either_way, -either_way]
    telling = np.zeros(0, int)
    if len(rivals) == 2 and alone is None:
        first = [part.value * ~part.tied for part in map(margin, rivals)]
        telling = which_labels(*first, len(sign), prompt=prompt, known=labelled)
        telling = comparison[telling]  # a comparison of n responses has several pairs
    elif len(rivals) == 2:
        first = [_above_average(alone, weights) for weights in rivals]
        telling = which_labels(*first, len(alone.ratings), prompt=alone.prompt, known=alone.labelled)
    telling = telling[np.sort(np.unique(telling, return_index=True)[1])][:labels]
    return Reliability(
        rules=lines,
        common=common,
        foretells=_foretells(lines) if (sign != 0).sum() >= FEWEST_FOR_CORRELATION else {},
        camp=followed.camp,
        camp_probability=followed.probability,
        agreement_loading=None if followed.chosen is None else followed.chosen.loading,
        settled_by="" if followed.chosen is None else followed.chosen.by,
        weights=weights,
        spread=np.nan_to_num(np.asarray(spread, np.float64)),
        accuracy=accuracy,
        better_than_uniform=better,
        better_than_chance=above_chance,
        label_next=telling,
        label_ids=tuple(ids[i] for i in telling.tolist()),
        prompts=len(np.unique(rows.prompt)),
        single=alone is not None,
        label_texts=_label_texts(records, texts, telling.tolist()),
    )


def _of_a_table(
    ratings: object, pool: object, given: Mapping[str, object], scale: tuple[float, float] | None
) -> OfTable | None:
    """The arguments that a file, or a table whose columns have names, stands for; None for an array."""
    if hasattr(ratings, "dtype"):
        return None
    from encore_jax.evaluation.rating_tables import is_ratings_table, named_columns, read_table

    if not is_ratings_table(ratings):
        return None
    given = dict(given)
    rules = named_columns(given.pop("rules"))
    return read_table(ratings, pool, given, scale, rules)


def _label_texts(records: list[Comparison] | None, texts, which: list[int]) -> tuple[tuple[str, ...], ...]:
    if records is None and texts is None:
        return ()
    return tuple(map(tuple, openings(texts_of(records[i]) if records is not None else texts[i] for i in which)))


def _given_entropy(entropy, rules: int) -> Float[np.ndarray, " K"]:
    values = numbers(entropy, "entropy", dtype=None)
    if values.shape != (rules,):
        raise InputError(f"has shape {values.shape}", where="entropy", fix=f"pass [{rules}], one a rule")
    return np.asarray(values, np.float64)


def _above_average(alone: RatedResponses, weights: np.ndarray) -> Float[np.ndarray, " N"]:
    """How far the reward of every response is above the average one's; missing ratings count as average."""
    mean = alone.ratings.sum(0, dtype=np.float64) / np.maximum(alone.mask.sum(0), 1)
    return np.where(alone.mask, alone.ratings - mean, 0).astype(np.float64) @ np.asarray(weights, np.float64)


def _by_labels(rewards: dict, sign, prompt) -> tuple[dict, dict, dict]:
    """Of every weighting, by labels: accuracy, and the probabilities that it beats "uniform", and chance."""
    labelled = sign != 0
    if not labelled.any():
        return {}, {}, {}
    prompt = prompt[labelled]
    credits = {name: Margin(part.value * sign, part.tolerance).credit[labelled] for name, part in rewards.items()}
    better = {n: preferred_side(own, credits["uniform"], prompt) for n, own in credits.items() if n != "uniform"}
    above = {name: preferred_side(own, 1 - own, prompt) for name, own in credits.items()}
    return {name: float(own.mean()) for name, own in credits.items()}, better, above


def _foretells(lines: Sequence[RuleReliability]) -> dict[str, float]:
    """What goes with accuracy, over the rules for which both are known."""

    def r(x: str, y: str) -> float:
        values = np.array([(getattr(line, x), getattr(line, y)) for line in lines])
        values = values[np.isfinite(values).all(1)]
        return float(pearson(*values.astype(np.float32).T)) if len(values) >= FEWEST_RULES else float("nan")

    return {
        "entropy": r("entropy", "half"),
        "entropy, decided": r("entropy", "decided"),
        "entropy and tie rate": r("entropy", "tie_rate"),
        "loading": r("loading", "half"),
    }
