"""Training batches: packed trees with the targets of their branch ends, as a resumable grain pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import grain
import jax
import numpy as np

from encore_jax.data.prefix_tree import PrefixTree, TreeBatch, lay_out
from encore_jax.errors import InputError
from encore_jax.train.gradient import TrainBatch
from encore_jax.train.packing import Rows, Shape, packed_steps


class Targets:
    """Ratings of texts and preferences between them, by the keys of the trees' branches.

    Args:
      ratings, rated: fp32 and bool ``[T, K]``; row t belongs to key t.
      pairs: int ``[P, 2]`` keys, the preferred one first; both must be branches of one tree.
      margin: fp32 ``[P]``; zeros if left out.
      names: what to call each text in a message; its number if left out.
      same: of texts that equal another in every token, their keys and that other's. A pair of equal texts compares one
        branch end with itself, so its margin is 0 and it has no gradient.
    """

    def __init__(
        self,
        ratings: np.ndarray,
        rated: np.ndarray,
        pairs=(),
        margin=None,
        names: Sequence[str] = (),
        same: Mapping[int, int] | None = None,
    ):
        self.ratings, self.rated, self.names = ratings, rated, names
        pairs, same = np.asarray(pairs, np.int64).reshape(-1, 2), same or {}
        self.pairs = np.array([[same.get(key, key) for key in pair] for pair in pairs.tolist()], np.int64)
        self.pairs = self.pairs.reshape(-1, 2)
        self.margin = np.zeros(len(self.pairs), np.float32) if margin is None else np.asarray(margin, np.float32)
        self.of_key: dict[int, list[int]] = {}
        for i, (better, _) in enumerate(self.pairs.tolist()):
            self.of_key.setdefault(better, []).append(i)

    def batch(self, trees: TreeBatch) -> TrainBatch:
        """Attaches the targets of a layout's branch ends; there is room for as many pairs as ends.

        Raises:
          InputError: more pairs than that.
        """
        num_pairs = len(trees.key)
        end_of = {int(key): m for m, key in enumerate(trees.key) if key >= 0}
        rows = [i for key in end_of for i in self.of_key.get(key, ()) if int(self.pairs[i, 1]) in end_of]
        if len(rows) > num_pairs:
            raise InputError(
                f"{len(rows)} pairs among {num_pairs} ends", where="pairs", fix="lower train.tokens_per_end"
            )
        better, worse = (np.zeros(num_pairs, np.int32) for _ in range(2))
        margin, paired = np.zeros(num_pairs, np.float32), np.arange(num_pairs) < len(rows)
        for slot, i in enumerate(rows):
            better[slot], worse[slot] = (end_of[int(key)] for key in self.pairs[i])
            margin[slot] = self.margin[i]
        real = trees.key >= 0
        ratings, rated = self.ratings[trees.key], self.rated[trees.key] & real[:, None]
        return TrainBatch(trees, np.where(rated, ratings, 0), rated, better, worse, paired, margin)

    def named(self, keys: Sequence[int]) -> list[str]:
        """Names of the texts with these keys."""
        return [self.names[key] if self.names else str(key) for key in keys]


def training_batches(
    trees: Sequence[PrefixTree], targets: Targets, shape: Shape, seed: int, epochs: int
) -> grain.IterDataset:
    """All steps of all epochs as stacked `TrainBatch`es ``[A, ...]`` of NumPy arrays.

    Iterators over it have `get_state` and `set_state`; the state is plain JSON, and what follows from it is exactly
    what would have followed. The next batch is laid out while the current one is trained on.

    Args:
      trees, targets: the data.
      shape: of every step.
      seed: of the order.
      epochs: passes over the data.
    """

    def batch(rows: Rows) -> TrainBatch:
        laid = lay_out([[trees[i] for i in row] for row in rows], shape.length, shape.rows, shape.ends)
        return targets.batch(laid)

    def step(plan: list[Rows]) -> TrainBatch:
        plan = plan + [[]] * (shape.micro_batches - len(plan))
        return jax.tree.map(lambda *parts: np.stack(parts), *(batch(rows) for rows in plan))

    steps = packed_steps(trees, shape, seed, epochs).map(step)
    return grain.experimental.ThreadPrefetchIterDataset(steps, prefetch_buffer_size=1)


def held_out_batches(trees: Sequence[PrefixTree], targets: Targets, shape: Shape) -> Iterator[TrainBatch]:
    """One pass, in batches of the shape of a micro-batch, without the leading axis."""
    for step in packed_steps(trees, shape._replace(micro_batches=1), seed=0, epochs=1):
        [rows] = step
        yield targets.batch(lay_out([[trees[i] for i in row] for row in rows], shape.length, shape.rows, shape.ends))
