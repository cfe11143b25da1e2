"""Does ENCORE's premise hold on ratings in memory? The question that comes before any weight is trusted.

Letters: N comparisons, n responses of each, M labelled pairs of them, K rules.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition import RatingsWarning, entropy_weights, rule_accuracy
from encore_jax.composition.checks import whole_number
from encore_jax.composition.settings import CompositionSettings
from encore_jax.data import Comparison
from encore_jax.data.left_out import Reason, count_left_out, require_some
from encore_jax.errors import InputError
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals
from encore_jax.evaluation.methods import half_credit
from encore_jax.evaluation.own_grid import own_grid
from encore_jax.evaluation.premise import Interval, Premise, bootstrap_accuracy, check_premise
from encore_jax.evaluation.rated_pairs import is_comparisons, pairs_of, rated_arrays
from encore_jax.evaluation.rating_tables import is_ratings_table, named_columns, read_table
from encore_jax.evaluation.reliability_arguments import check_on_scale
from encore_jax.evaluation.view import Pairs, View
from encore_jax.evaluation.wording import gain_words, verdict_words
from encore_jax.rules import RulePool
from encore_jax.shown import Shown


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PremiseCheck(Shown, shown_by="encore_jax.report.premise_page"):
    """Whether high entropy goes with low accuracy on these ratings, as ENCORE supposes.

    >>> rng = np.random.default_rng(0)
    >>> ratings = rng.integers(1, 6, (200, 2, 4))
    >>> found = premise(ratings, rng.integers(0, 2, 200), rules=["a", "b", "c", "d"], replicates=100)
    >>> found.verdict, found.comparisons
    ('cannot tell at this size', 200)

    Attributes:
      premise: the verdict, the correlation with its intervals, and what else was looked at.
      rules: K names; of a table which columns are rules, as in `reliability`.
      entropy: ``[K]``.
      accuracy: how often each rule prefers what people prefer, a tie counting half, with 95 % intervals over prompts.
      weights: ``[K]``, ENCORE's.
      settings: how entropies and weights were made.
      comparisons: how many labelled pairs with all ratings there are.
      left_out: pairs that say nothing here, by reason.
    """

    premise: Premise
    rules: tuple[str, ...]
    entropy: Float[np.ndarray, " K"]
    accuracy: tuple[Interval, ...]
    weights: Float[np.ndarray, " K"]
    settings: CompositionSettings
    comparisons: int
    left_out: dict[str, int]

    @property
    def verdict(self) -> Literal["holds", "does not hold", "cannot tell at this size"]:
        """The answer."""
        return self.premise.verdict

    def sentences(self) -> list[str]:
        """The answer in words, then what led to it."""
        facts = dataclasses.asdict(self.premise) | {"gain": self.premise.gain._asdict()}
        first = f"ENCORE's premise {self.verdict}. {verdict_words(facts)} {gain_words(facts['gain'])}"
        left = [f"{count} pairs are left out: they {reason}." for reason, count in self.left_out.items()]
        return [first, *self.premise.reasons, *left]


def premise(
    ratings: Float[Array, "N n K"] | Iterable[Comparison] | str | Path | object,
    preferred: Int[Array, " N"] | None = None,
    *,
    where: Bool[Array, "N n K"] | None = None,
    prompt: Int[Array, " N"] | None = None,
    rules: Sequence[str] | None = None,
    compose: CompositionSettings | None = None,
    replicates: int = 2000,
    seed: int = 0,
    pool: RulePool | Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
) -> PremiseCheck:
    """Whether rules whose ratings have a high entropy agree less often with people, on these ratings.

    No label is used for entropies and weights; labels only judge them.

    Args:
      ratings: ``[N, n, K]`` of comparisons of n ≥ 2 responses, on any scale, higher is better; or rated comparisons, as
        `rate` gives them; or a table of two or more responses in a row, as `reliability` takes it.
      preferred: ``[N]``, 0 to n - 1 by people, -1 where nobody chose; comparisons and tables carry their own.
      where: of the ratings' shape, which of them exist.
      prompt: ``[N]``, comparisons of one prompt are resampled together; each has its own prompt if left out.
      rules: K names; of a table which columns are rules, as in `reliability`.
      compose: how entropies and weights are made; τ = 2 on the ratings' own grid if left out.
      replicates: of the bootstrap over prompts.
      seed: of the bootstrap.
      pool: of a table, its rules and which way round they are.
      scale: lowest and highest possible rating, by every rule; inferred if left out.

    Raises:
      InputError: no pair is labelled and rated on all rules; and whatever `reliability` refuses.

    >>> rng = np.random.default_rng(0)
    >>> quality = rng.integers(0, 2, (400, 2, 1))
    >>> noise = rng.integers(1, 6, (400, 2, 5))
    >>> ratings = np.where(rng.random((400, 2, 5)) < np.linspace(0.1, 0.9, 5), noise, 1 + 4 * quality)
    >>> found = premise(ratings, quality[..., 0].argmax(1), rules=["a", "b", "c", "d", "e"])
    >>> found.verdict, round(found.premise.r, 1)
    ('holds', -1.0)
    """
    whole_number(replicates, "replicates", 100, 100_000, why="how often to resample")
    whole_number(seed, "seed", 0, 2**64)
    if is_ratings_table(ratings):
        given = {"preferred": preferred, "where": where, "prompt": prompt}
        own, columns, _ = read_table(ratings, pool, given, scale, named_columns(rules))
        for line in columns:
            logging.getLogger(__name__).warning("%s", line)
        scale = None  # its ratings may be brought to another
        names = ("ratings", "preferred", "where", "prompt", "rules")
        ratings, preferred, where, prompt, rules = (own.get(name) for name in names)
        if not is_comparisons(ratings) and np.ndim(ratings) == 2:
            problem, fix = "has one response in a row, and nothing to compare it with", "compare two responses in a row"
            raise InputError(problem, where="ratings", fix=fix)
    elif pool is not None:
        raise InputError("is of a table, and this is none", where="pool", fix="turn the ratings, and give rules=")
    values, chosen, mask, prompts, names = rated_arrays(ratings, preferred, where, prompt, rules)
    flat, seen = values.reshape(-1, len(names)), mask.reshape(-1, len(names))
    check_on_scale(flat, seen, names, scale, values.shape[1])
    settings = own_grid(flat, seen) if compose is None else compose
    pairs, left_out = _labelled(values, chosen, mask, prompts, names)
    rated = seen.any(1)
    cluster = np.repeat(prompts, values.shape[1])[rated]
    flat = flat.astype(np.float32)
    view = View("ratings", "human-rated", "", names, flat[rated], seen[rated], cluster, pairs, pairs)
    with warnings.catch_warnings():  # the reasons name constant rules and unequal grids
        warnings.simplefilter("ignore", RatingsWarning)
        entropy = np.asarray(settings.entropy(view.ratings, view.rated, names))
    weights = np.asarray(entropy_weights(entropy, settings.tau))
    test_key, premise_key = jax.random.split(jax.random.key(seed))
    gain = _gain(pairs, weights, test_key, replicates)
    found = check_premise(view, settings, entropy, gain, premise_key, replicates, "labelled comparisons")
    low, high = percentile_interval(np.asarray(bootstrap_accuracy(pairs, test_key, replicates)))
    half = np.asarray(rule_accuracy(pairs.scores, pairs.preferred).ties_half)
    accuracy = tuple(Interval(*map(float, row)) for row in zip(half, low, high, strict=True))
    return PremiseCheck(found, names, entropy, accuracy, weights, settings, len(pairs), left_out)


def _labelled(values, chosen, mask, prompts, names) -> tuple[Pairs, dict[str, int]]:
    """The pairs that say something about accuracy; how many others there are, by reason."""
    every = pairs_of(values, chosen, mask, prompts, names)
    reasons = [
        Reason("say of neither response that it is preferred", every.sign == 0, "label them"),
        Reason("lack a rating by some rule", ~every.mask.all((1, 2)), "rate them on every rule, or drop the rule"),
    ]
    total = len(every.sign)
    left = require_some(total, reasons, what="pairs", purpose="to judge the premise by", where="ratings")
    _, counts = count_left_out(total, reasons)
    pairs = Pairs(
        every.ratings[left].astype(np.float32),
        (every.sign[left] < 0).astype(np.int64),
        every.prompt[left],
        np.full(int(left.sum()), "all"),
    )
    return pairs, {reason.text: count for reason, count in zip(reasons, counts, strict=True) if count}


def _gain(pairs: Pairs, weights: np.ndarray, key: jax.Array, replicates: int) -> Interval:
    """Accuracy of ENCORE's reward minus that of equal weights, paired, prompts resampled."""
    equal = np.full_like(weights, 1 / len(weights))
    difference = half_credit(pairs, weights)[0] - half_credit(pairs, equal)[0]
    columns = np.stack([difference, np.ones_like(difference)], 1)
    present = np.unique(pairs.cluster)
    sums = cluster_sums(columns, pairs.cluster, int(pairs.cluster.max()) + 1)[present]
    totals = np.asarray(resampled_totals(sums, key, replicates), np.float64)
    low, high = percentile_interval(totals[:, 0] / totals[:, 1])
    return Interval(float(difference.mean()), float(low), float(high))
