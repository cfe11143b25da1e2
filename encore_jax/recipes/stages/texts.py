"""Which texts a run needs features for, and where each rated or compared response is among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data import Comparison, Message, RatedResponse, prompt_key
from encore_jax.data.split import folds, group_ids, is_test
from encore_jax.recipes.split import Split
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.reward.sequences import Text


class Texts(NamedTuple):
    """Distinct (prompt, response) texts and how the records refer to them.

    Attributes:
      texts: T distinct texts.
      cluster: int ``[T]``, equal for equal prompts.
      fold: int ``[T]``, cross-validation fold of the prompt.
      test: bool ``[T]``, whether the prompt is held out (only prompts of comparisons are).
      rated: int ``[R]``, the text of each rated response.
      compared: int ``[N, 2]``, the texts of each comparison.
    """

    texts: list[Text]
    cluster: np.ndarray
    fold: np.ndarray
    test: np.ndarray
    rated: np.ndarray
    compared: np.ndarray


def collect_texts(
    rated: Sequence[RatedResponse], comparisons: Sequence[Comparison], test_fraction: float, num_folds: int, seed: int
) -> Texts:
    """Numbers the distinct texts and splits them by prompt."""
    numbers: dict[Text, int] = {}
    rated_text = [numbers.setdefault((r.prompt, r.response), len(numbers)) for r in rated]
    compared = [[numbers.setdefault((c.prompt, text), len(numbers)) for text in c.responses] for c in comparisons]
    keys = [prompt_key(prompt) for prompt, _ in numbers]
    in_comparison = {prompt_key(c.prompt) for c in comparisons}
    held_out = is_test(keys, test_fraction, seed) & np.array([key in in_comparison for key in keys])
    return Texts(
        texts=list(numbers),
        cluster=group_ids(keys),
        fold=folds(keys, num_folds, seed + 1),
        test=held_out,
        rated=np.array(rated_text, np.int64),
        compared=np.array(compared, np.int64).reshape(-1, 2),
    )


def texts_of(data: Ingested, split: Split) -> Texts:
    """The run's texts, split."""
    return collect_texts(data.rated, data.comparisons, *split)


def compared_prompts(comparisons: Sequence[Comparison]) -> tuple[list[tuple[Message, ...]], np.ndarray]:
    """The distinct prompts of the comparisons, P of them, and int ``[N]``, which of them each comparison has."""
    prompt = group_ids([prompt_key(c.prompt) for c in comparisons])
    _, first = np.unique(prompt, return_index=True)
    return [comparisons[i].prompt for i in first], prompt
