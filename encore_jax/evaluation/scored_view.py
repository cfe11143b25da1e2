"""A view made of scores or ratings that have no split of their own.

Prompts are divided by a hash: ratings (or scores) of the training prompts give the entropies, and the comparisons of
the others are decided. Of n responses, the preferred one makes a comparison with each of the others.

Letters: T responses, K rules, N comparisons.
"""

from __future__ import annotations

import numpy as np
from absl import logging

from encore_jax.data.orientation import Scale
from encore_jax.data.scored_rows import Rows
from encore_jax.data.split import group_ids, is_test
from encore_jax.evaluation.view import Label, Pairs, View


def scored_view(
    rows: Rows, name: str, *, label: Label, scale: Scale = (0.0, 1.0), test_fraction: float = 0.5, seed: int = 0
) -> View:
    """What an ablation works on.

    Args:
      rows: scores or ratings by rule.
      name: of the file that they come from.
      label: where the values come from.
      scale: lowest and highest possible value.
      test_fraction: of the prompts, held out.
      seed: of the split.

    Raises:
      InputError: there is no comparison to train on, or none to decide.
    """
    cluster = group_ids(rows.prompt)
    tested = is_test(rows.prompt, test_fraction, seed)
    of_response = np.repeat(np.arange(len(rows.sizes)), rows.sizes)
    better = (np.cumsum(rows.sizes) - rows.sizes + rows.preferred)[of_response]
    worse = np.arange(len(of_response))
    chosen = (rows.preferred[of_response] >= 0) & (worse != better)
    pair = np.stack([better[chosen], worse[chosen]], 1)
    known = np.isfinite(rows.values)
    whole = known.all(1)[pair].all(1)
    row = of_response[pair[:, 1]][whole]
    pair = pair[whole]

    def part(kept: np.ndarray) -> Pairs:
        scores = rows.values[pair[kept]].astype(np.float32)
        return Pairs(scores, np.zeros(len(scores), int), cluster[row[kept]], rows.subset[row[kept]])

    training = known.any(1) & ~tested[of_response]
    (low, high), prompts = scale, set(rows.prompt)
    outside = ((rows.values < low) | (rows.values > high)).sum()
    told = (
        f"{len(pair)} pairs of a preferred and another response of {len(rows.sizes)} rows in {name}. Left out: "
        f"{(rows.preferred < 0).sum()} rows without a preference, {(~whole).sum()} pairs in which a rule has no value. "
        f"{outside} of {known.sum()} values lie outside {low:g} to {high:g} and count as its ends. {len(prompts)} "
        f"prompts, of which {len(set(cluster[tested]))} are held out; the values of {training.sum()} responses to the "
        "others give the entropies."
    )
    if len(prompts) == len(rows.prompt):
        told += " Every row is a prompt of its own."
    logging.info(told)
    return View(
        name=name,
        label=label,
        description=told,
        rules=rows.rules,
        ratings=np.nan_to_num(rows.values[training]).astype(np.float32),
        rated=known[training],
        rating_cluster=cluster[of_response[training]],
        train=part(~tested[row]),
        test=part(tested[row]),
    )
