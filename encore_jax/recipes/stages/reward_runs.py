"""Which comparisons each reward model is trained on, and whether there are enough of them."""

from __future__ import annotations

import numpy as np

from encore_jax.data.left_out import Reason, require_some
from encore_jax.recipes.ramo_runs import Run
from encore_jax.recipes.stages.presented import Presented


def drawn_counts(pool: np.ndarray, size: int, seed: int, replace: bool = True) -> np.ndarray:
    """How often each comparison of the pool is drawn: int ``[N]``; the same for every arm.

    With replacement, as convex heads are trained, even draws of all comparisons differ from seed to seed.
    """
    numbers = np.flatnonzero(pool)
    size = size or len(numbers)
    chosen = np.random.default_rng([seed, size]).choice(numbers, size if replace else min(size, len(numbers)), replace)
    return np.bincount(chosen, minlength=len(pool))


def require_parts(shown: Presented, pool: np.ndarray, fits: np.ndarray, length: str, initial: int) -> None:
    """Raises InputError unless there are comparisons for the initial head, for the arms and to judge by, saying why.

    Args:
      shown, pool: all comparisons, and bool ``[N]``, those that the arms may be trained on.
      fits: bool ``[N]``, which the model can read.
      length: what the others exceed, in words.
      initial: how many labelled comparisons the initial head needs; 0 for a checkpoint's own.
    """
    long = Reason(
        f"are longer than the tokens of a row, {length}, or refused by the chat template", ~fits, "take longer rows"
    )
    fractions = "give more prompts, or change --config.adapter_fraction or --config.data.test_fraction"
    adapter = shown.part == "adapter"
    unlabelled = Reason("are not labelled by people", adapter & (shown.human < 0), "label the adapter's comparisons")
    wanted = [("to train the initial head on", adapter, [unlabelled], initial)] if initial else []
    wanted += [("to train the arms on", pool, [], 1), ("to judge by, held out", shown.part == "test", [], 1)]
    for purpose, part, more, least in wanted:
        reasons = [Reason("are for other purposes", ~part, fractions), long, *more]
        options = {"what": "comparisons", "purpose": purpose, "where": "training data", "least": least}
        require_some(len(fits), reasons, **options)


def require_labels(run: Run, label: np.ndarray, drawn: np.ndarray) -> None:
    """Raises InputError unless a comparison that a run draws has a label."""
    unlabelled = "have the judge rate both responses on the rules that the arm selects"
    tied = "let ties count by --config.select.ties, select more rules, or leave the arm out of --config.train.arms"
    reasons = [
        Reason("are unlabelled", label[drawn] < -1, unlabelled),
        Reason("are ties on the selected rules", label[drawn] == -1, tied),
    ]
    options = {"what": "drawn comparisons", "purpose": "to train on", "where": f"arm {run.name}"}
    require_some(int(drawn.sum()), reasons, **options)
