"""A reward model compiled for a few static shapes: packed prefix trees in, scores of every branch out.

The one way through the model for everything that scores texts again and again: batch scorer, server, RL rewards.
Batches come in few shapes, each compiled once, and their rows are split over this process's devices, each of which
holds the whole model.

Shape letters: N texts, B rows, S tokens in a row, D width, K rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from encore_jax.data.prefix_tree import PrefixTree, TreeBatch, lay_out, make_trees, pack_rows
from encore_jax.interop.sequences import Text, check_finite, prompt_trees, token_sequences
from encore_jax.model.decoder import Backbone
from encore_jax.model.heads import rule_scores

if TYPE_CHECKING:
    from encore_jax.interop.reward_model import RewardModel

Rows = Sequence[Sequence[PrefixTree]]


class Shape(NamedTuple):
    """Static shape of a batch: B rows of S tokens."""

    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, padding included."""
        return self.rows * self.length


def batch_shapes(buckets: Sequence[int], tokens_per_batch: int, devices: int) -> tuple[Shape, ...]:
    """Shapes for every row length: rows double from one per device to about `tokens_per_batch` tokens; by size.

    >>> [tuple(shape) for shape in batch_shapes((128, 512), 1024, 1)]
    [(1, 128), (2, 128), (1, 512), (4, 128), (2, 512), (8, 128)]
    """
    shapes = set()
    for length in buckets:
        rows = devices
        while rows == devices or rows * length <= tokens_per_batch:
            shapes.add(Shape(rows, length))
            rows *= 2
    return tuple(sorted(shapes, key=lambda shape: (shape.tokens, -shape.length)))


class Pending(NamedTuple):
    """A batch on its way through the model."""

    tokens_scores: jax.Array
    batch: TreeBatch

    def collect(self) -> tuple[np.ndarray, np.ndarray]:
        """Waits; the keys ``[M]`` of the batch's branches and their fp32 scores ``[M, K]``."""
        real = self.batch.key >= 0
        where = self.batch.end_row[real], self.batch.end_index[real]
        return self.batch.key[real], np.asarray(self.tokens_scores)[where]


class Scorer:
    """The model, on this process's devices, and its compiled programs.

    Args:
      model: the reward model.
      tokens_per_batch: about how many tokens, padding included, go through it at once, at most.
      devices: which devices share the rows of a batch; all of this process by default.

    Attributes:
      model: as given.
      shapes: of the batches that it takes, the smallest first.
      longest: text, in tokens, that can be scored.
    """

    def __init__(self, model: RewardModel, *, tokens_per_batch: int = 4096, devices: Sequence | None = None):
        devices = jax.local_devices() if devices is None else devices
        self.model = model
        self.shapes = batch_shapes(model.buckets, tokens_per_batch, len(devices))
        self.longest = max(model.buckets)
        mesh = Mesh(np.array(devices), ("rows",), axis_types=(AxisType.Auto,))
        whole, split = PartitionSpec(), PartitionSpec("rows")
        backbone = Backbone(model.cfg, dtype=jnp.dtype(model.passport.dtype))

        def scores(params, kernel_DK, bias_K, tokens_BS, tree_BS, branch_BS, position_BS):
            hidden_BSD = backbone.apply({"params": params}, tokens_BS, tree_BS, branch_BS, position_BS)
            return rule_scores(hidden_BSD, kernel_DK, bias_K)

        # By hand, not by the compiler: attention kernels cannot be partitioned, and need not know of the other devices.
        split_scores = jax.shard_map(
            scores, mesh=mesh, in_specs=(whole,) * 3 + (split,) * 4, out_specs=split, check_vma=False
        )
        self._scores = jax.jit(split_scores)
        self._weights = jax.device_put((model.params, model.kernel, model.bias), NamedSharding(mesh, whole))
        self._split = NamedSharding(mesh, split)

    def dispatch(self, rows: Rows, shape: Shape) -> Pending:
        """Starts the model on rows of trees, laid out in one of `shapes`; returns at once."""
        num_ends = max(1, sum(len(tree.branches) for trees in rows for tree in trees))
        batch = lay_out(rows, shape.length, shape.rows, num_ends)
        arrays = jax.device_put((batch.tokens, batch.tree, batch.branch, batch.position), self._split)
        return Pending(self._scores(*self._weights, *arrays), batch)

    def warm_up(self) -> None:
        """Compiles all shapes; afterwards nothing is compiled any more."""
        for shape in self.shapes:
            self.dispatch([], shape).tokens_scores.block_until_ready()

    def tokenize(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Token ids of conversations, as in training."""
        tokenizer = self.model.tokenizer
        return token_sequences(tokenizer, texts, self.model.passport.pooling, tokenizer.pad_token_id)

    def plan(self, trees: Sequence[PrefixTree]) -> Iterator[tuple[Shape, Rows]]:
        """All trees, the longest first, as batches of these shapes; the last of every row length may be a small one."""
        lengths = sorted({shape.length for shape in self.shapes})
        for length, rows in zip(lengths, pack_rows(trees, lengths), strict=True):
            shapes = [shape for shape in self.shapes if shape.length == length]
            for start in range(0, len(rows), shapes[-1].rows):
                group = rows[start : start + shapes[-1].rows]
                yield next(shape for shape in shapes if shape.rows >= len(group)), group

    def run(self, batches: Iterable[tuple[Shape, Rows]], count: int) -> np.ndarray:
        """Scores ``[N, K]`` by the trees' keys, NaN where no branch has that key.

        Args:
          batches: as `plan` gives them; each is laid out while the one before is computed.
          count: N, the number of keys.
        """
        scores, pending = np.full((count, len(self.model.rules)), np.nan, np.float32), None
        for shape, rows in batches:
            started = self.dispatch(rows, shape)
            if pending is not None:
                _keep(scores, pending)
            pending = started
        if pending is not None:
            _keep(scores, pending)
        return scores

    def score_texts(self, texts: Sequence[Text]) -> np.ndarray:
        """Scores ``[N, K]`` of conversations, packed by prompt; NaN rows where one is longer than `longest`."""
        trees = prompt_trees(texts, self.tokenize(texts), self.longest)
        return self.run(self.plan(trees), len(texts))

    def rewards(self, scores: np.ndarray) -> np.ndarray:
        """Composed rewards ``φ = Σ_k w_k ψ_k``, fp32 ``[N]``, of scores ``[N, K]``."""
        return scores.astype(np.float32) @ self.model.weights  # not `compose`: it would be compiled for every N


def _keep(scores: np.ndarray, pending: Pending) -> None:
    keys, got = pending.collect()
    check_finite(got, keys, "scores")
    scores[keys] = got


def grouped_trees(
    sequences: Sequence[np.ndarray], groups: Sequence[str], keys: Sequence[int], longest: int
) -> list[PrefixTree]:
    """Trees of sequences that belong together (equal `groups`), in the order in which each group appears first."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    trees = []
    for group in members.values():
        trees.extend(make_trees([sequences[i] for i in group], [keys[i] for i in group], longest))
    return trees
