"""Whether both sides of the split, training and held out, have something, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encore_jax.data.left_out import Reason, require_some

TEST_FRACTION = "change --config.data.test_fraction or --config.seed, or give more prompts"
ONE_PROMPT = "give comparisons of at least two prompts: all of one prompt are on one side"


def on_either_side(
    total: int, reasons: Sequence[Reason], out: np.ndarray, cluster: np.ndarray, fraction: float
) -> None:
    """Makes sure that comparisons are left to train on, and held out ones to judge by.

    Args:
      total: how many comparisons there are.
      reasons: why some are left out, on whichever side.
      out: bool ``[N]``, which are held out.
      cluster: int ``[N]``, equal for equal prompts.
      fraction: of the prompts that is held out, as the configuration says.

    Raises:
      InputError: a side is empty; says how many comparisons which reason took.
    """
    prompts = len(np.unique(cluster))
    fix = TEST_FRACTION if prompts > 1 else ONE_PROMPT
    drawn = f"({prompts} prompts, data.test_fraction {fraction:g})" if prompts > 1 else "(they share one prompt)"
    sides = (("to train on", out, "are held out"), ("to judge by, held out", ~out, "are trained on, not held out"))
    for purpose, rows, text in sides:
        side = [*reasons, Reason(f"{text} {drawn}", rows, fix)]
        require_some(total, side, what="comparisons", purpose=purpose, where="training data")
