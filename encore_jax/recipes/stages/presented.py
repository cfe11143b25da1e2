"""Comparisons as they are shown to an adapter: which response is A, who is in which part, and which texts that makes.

HH-RLHF lists the chosen response first. Were it always response A, an adapter or a label could learn the place; so
which one is A is drawn by hash, the same in every stage.

Letters: N comparisons, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data import Comparison, prompt_key
from encore_jax.data.split import group_ids, hash_unit
from encore_jax.recipes.split import PartSplit
from encore_jax.reward.sequences import Text

PARTS = ("test", "adapter", "reward")


class Presented(NamedTuple):
    """N comparisons of two responses, A and B.

    Attributes:
      comparisons: as read.
      first: int ``[N]``, the index of the response that is A.
      human: int ``[N]``, 0 if people prefer A, 1 if B, -1 if nobody chose.
      part: ``[N]``, one of `PARTS`, by prompt.
      cluster: int ``[N]``, equal for equal prompts.
    """

    comparisons: Sequence[Comparison]
    first: np.ndarray
    human: np.ndarray
    part: np.ndarray
    cluster: np.ndarray

    def oriented(self, values: np.ndarray) -> np.ndarray:
        """Values ``[N, 2, ...]`` by response index, with A first."""
        order = np.stack([self.first, 1 - self.first], 1)
        return np.take_along_axis(values, order.reshape(*order.shape, *(1,) * (values.ndim - 2)), 1)

    @property
    def response_texts(self) -> list[Text]:
        """Prompt and A, then prompt and B, of every comparison."""
        return response_texts(self.comparisons, self.first)

    @property
    def pair_texts(self) -> list[Text]:
        """What an adapter reads, see `pair_texts`."""
        return pair_texts(self.comparisons, self.first)


def response_texts(comparisons: Sequence[Comparison], first: np.ndarray) -> list[Text]:
    """Prompt and A, then prompt and B, of every comparison; `first` is the index of the response that is A."""
    return [(c.prompt, c.responses[i]) for c, first in zip(comparisons, first, strict=True) for i in (first, 1 - first)]


def pair_texts(comparisons: Sequence[Comparison], first: np.ndarray) -> list[Text]:
    """What an adapter reads: prompt, response A, response B; then the same with the responses exchanged.

    The pair takes the place of the assistant's answer, so both orders share the prompt as their prefix.
    """
    return [
        (c.prompt, pair_text(c.responses[i], c.responses[1 - i]))
        for c, first in zip(comparisons, first, strict=True)
        for i in (first, 1 - first)
    ]


def pair_text(a: str, b: str) -> str:
    """Two responses as one assistant's message.

    >>> pair_text("Yes.", "No.")
    'Response A:\\nYes.\\n\\nResponse B:\\nNo.'
    """
    return f"Response A:\n{a}\n\nResponse B:\n{b}"


def first_responses(comparisons: Sequence[Comparison], seed: int) -> np.ndarray:
    """int ``[N]``: the index of the response that is A, drawn by hash; the order in the file does not matter."""
    keys = [prompt_key(c.prompt) for c in comparisons]
    orders = [
        hash_unit(key + "\0".join(sorted(c.responses)), seed + 2) for key, c in zip(keys, comparisons, strict=True)
    ]
    by_text = [int(c.responses[0] > c.responses[1]) for c in comparisons]
    return np.array([text ^ (order < 0.5) for text, order in zip(by_text, orders, strict=True)], np.int64)


def present(comparisons: Sequence[Comparison], split: PartSplit) -> Presented:
    """Draws, by hash: A and B, the held-out prompts, and the adapter's share of the rest."""
    keys, first = [prompt_key(c.prompt) for c in comparisons], first_responses(comparisons, split.seed)
    preferred = np.array([-1 if c.preferred is None else c.preferred for c in comparisons])
    human = np.where(preferred < 0, -1, (preferred != first).astype(np.int64))
    test = np.array([hash_unit(key, split.seed) < split.test_fraction for key in keys])
    adapter = np.array([hash_unit(key, split.seed + 3) < split.adapter_fraction for key in keys])
    part = np.where(test, "test", np.where(adapter, "adapter", "reward"))
    return Presented(comparisons, first, human, part, group_ids(keys))
