"""A reward model compiled for a few static shapes: packed prefix trees in, scores of every branch out.

The one way through the model for everything that scores texts again and again: batch scorer, server, RL rewards.
Batches come in few shapes, each compiled once. Their rows are split over this process's devices, each of which holds
the whole model; of a model on a mesh (`encore_jax.parallel.mesh`) its devices share parameters and rows.

What comes out of it for one text is a row of C *values*: a score for every rule, and behind these, if the model has a
gate (`encore_jax.reward.gate_position`), the weight that it gives to every rule. `Scorer.scored` takes them apart.

Shape letters: N texts, B rows, S tokens in a row, M branch ends, D width, K rules, C values (K, or 2 K with a gate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from encore_jax.data.comparison import prompt_key
from encore_jax.data.distinct import distinct
from encore_jax.data.prefix_tree import PrefixTree, TreeBatch, lay_out, make_trees, pack_rows
from encore_jax.errors import InputError
from encore_jax.progress import track
from encore_jax.reward.gate_position import gate_places, gate_position, generation_prompt
from encore_jax.reward.led import LedProgram
from encore_jax.reward.scored import Scored, compiled_graph
from encore_jax.reward.sequences import Text, check_finite, fits, token_sequences
from encore_jax.reward.token_values import program_of

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel

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
    """A batch on its way through the model.

    Attributes:
      token_values: ``[B, S, C]``.
      batch: what went in.
      gate_places: of a gated model, row and column of the token that the gate reads, for each of M branches.
    """

    token_values: jax.Array
    batch: TreeBatch
    gate_places: tuple[np.ndarray, np.ndarray] | None = None

    def collect(self) -> tuple[np.ndarray, np.ndarray]:
        """Waits; the keys ``[M]`` of the batch's branches and their fp32 values ``[M, C]``."""
        real = self.batch.key >= 0
        token_values = np.asarray(self.token_values)
        values = token_values[self.batch.end_row[real], self.batch.end_index[real]]
        if self.gate_places is not None:
            rules = values.shape[1] // 2
            values[:, rules:] = token_values[(*self.gate_places, slice(rules, None))]
        return self.batch.key[real], values


class Scorer:
    """The model, on this process's devices, and its compiled programs.

    Args:
      model: the reward model.
      tokens_per_batch: about how many tokens, padding included, go through it at once, at most.
      devices: which devices share the rows of a batch; all of this process by default. A model on a mesh has its own.
      led: of a model on devices of several processes: process 0 scores, and all others `follow` it. Else all of them
        have to score the same.
      intervals: whether whoever writes scores down is to write their intervals as well.

    Attributes:
      model: as given.
      shapes: of the batches that it takes, the smallest first.
      longest: text, in tokens, that can be scored.
      columns: C.
      graph: the model's vetoes and prerequisites, if it has any.
      intervals: the model's, if they are wanted.

    Raises:
      InputError: the gate's place cannot be found in conversations of this chat template; or intervals are wanted, and
        nobody has calibrated the model.
    """

    def __init__(
        self,
        model: RewardModel,
        *,
        tokens_per_batch: int = 4096,
        devices: Sequence | None = None,
        led: bool = False,
        intervals: bool = False,
    ):
        self.model, self.intervals = model, model.intervals if intervals else None
        program = program_of(model, devices)
        self._program = LedProgram(program) if led else program
        self.shapes = batch_shapes(model.buckets, tokens_per_batch, self._program.shards)
        self.longest = max(model.buckets)
        self.columns = len(model.rules) * (1 if model.gate is None else 2)
        self.graph = compiled_graph(model.passport)
        self._pattern = () if model.gate is None else generation_prompt(model.tokenizer)

    def dispatch(self, rows: Rows, shape: Shape) -> Pending:
        """Starts the model on rows of trees, laid out in one of `shapes`; returns at once."""
        num_ends = max(1, sum(len(tree.branches) for trees in rows for tree in trees))
        batch = lay_out(rows, shape.length, shape.rows, num_ends)
        places = gate_places(rows, self._pattern) if self._pattern else None
        return Pending(self._program(batch.tokens, batch.tree, batch.branch, batch.position), batch, places)

    def follow(self) -> None:
        """Of a scorer that is led, on every process but 0: runs what process 0 runs, until that finishes."""
        self._program.follow()

    def finish(self) -> None:
        """Lets those go that follow, if it is led."""
        if isinstance(self._program, LedProgram):
            self._program.finish()

    def warm_up(self, report: Callable[[int, Shape], None] = lambda i, shape: None) -> None:
        """Compiles all shapes; afterwards nothing is compiled any more.

        Args:
          report: told before each which one comes, as index and shape.
        """
        for i, shape in enumerate(self.shapes):
            report(i, shape)
            self.dispatch([], shape).token_values.block_until_ready()

    def tokenize(
        self, texts: Sequence[Text], refused: dict[int, str] | None = None, hidden: dict[int, str] | None = None
    ) -> list[np.ndarray | None]:
        """Token ids of conversations, as in training.

        Args:
          texts: the conversations.
          refused, hidden: see `token_sequences`; `refused` takes what `check` refuses as well.

        Raises:
          InputError: without `refused`, for a text that the chat template or `check` refuses.
        """
        tokenizer, pooling = self.model.tokenizer, self.model.passport.pooling
        sequences = token_sequences(tokenizer, texts, pooling, tokenizer.pad_token_id, refused, hidden)
        for i, sequence in enumerate(sequences):
            try:
                if sequence is not None:
                    self.check(sequence, f"text {i}")
            except InputError as error:
                if refused is None:
                    raise
                refused[i], sequences[i] = error.problem, None
        return sequences

    def check(self, tokens: Sequence[int], where: str) -> None:
        """Makes sure that a conversation can be scored, whatever its length.

        Raises:
          InputError: the model has a gate, and there is no answer before which it could look.
        """
        if self._pattern:
            try:
                gate_position(tokens, self._pattern)
            except InputError as error:
                raise InputError(error.problem, where=where, fix=error.fix) from None

    def plan(self, trees: Sequence[PrefixTree]) -> Iterator[tuple[Shape, Rows]]:
        """All trees, the longest first, as batches of these shapes; the last of every row length may be a small one."""
        lengths = sorted({shape.length for shape in self.shapes})
        for length, rows in zip(lengths, pack_rows(trees, lengths), strict=True):
            shapes = [shape for shape in self.shapes if shape.length == length]
            for start in range(0, len(rows), shapes[-1].rows):
                group = rows[start : start + shapes[-1].rows]
                yield next(shape for shape in shapes if shape.rows >= len(group)), group

    def run(self, batches: Iterable[tuple[Shape, Rows]], count: int) -> np.ndarray:
        """Values ``[N, C]`` by the trees' keys, NaN where no branch has that key.

        Args:
          batches: as `plan` gives them; each is laid out while the one before is computed.
          count: N, the number of keys.
        """
        values, pending = np.full((count, self.columns), np.nan, np.float32), None
        for shape, rows in batches:
            started = self.dispatch(rows, shape)
            if pending is not None:
                _keep(values, pending)
            pending = started
        if pending is not None:
            _keep(values, pending)
        return values

    def run_sequences(
        self, sequences: Sequence[np.ndarray | None], groups: Sequence[str], label: str = ""
    ) -> np.ndarray:
        """Values ``[N, C]`` of token sequences; NaN rows where there is none, or one is longer than `longest`.

        Equal sequences are run once and have equal values, to the last bit, whatever group they are in.

        Args:
          sequences: token ids, up to the token that is pooled.
          groups: equal for sequences that may share a prefix, such as those of one prompt.
          label: of progress, which is shown if there is one.
        """
        first, place = distinct(sequences)
        kept = [i for i in first.tolist() if fits(sequences[i], self.longest)]
        trees = grouped_trees([sequences[i] for i in kept], [groups[i] for i in kept], kept, self.longest)
        batches = self.plan(trees)
        if label:
            batches = list(batches)
            total = sum(shape.rows * shape.length for shape, _ in batches)
            batches = track(batches, total, label, lambda batch: batch[0].rows * batch[0].length)
        return self.run(batches, len(sequences))[first[place]]

    def run_texts(self, texts: Sequence[Text]) -> np.ndarray:
        """The same of conversations, packed by prompt."""
        return self.run_sequences(self.tokenize(texts), [prompt_key(prompt) for prompt, _ in texts])

    def scores(self, values: np.ndarray) -> np.ndarray:
        """The scores ``[N, K]`` among values ``[N, C]``."""
        return values[:, : len(self.model.rules)]

    def scored(self, values: np.ndarray) -> Scored:
        """Values ``[N, C]`` as scores and weights, those of the gate or the model's own.

        Raises:
          InputError: nobody has said how the heads compose.
        """
        scores = self.scores(values)
        if self.model.gate is not None:
            return Scored(scores, values[:, scores.shape[1] :], self.graph)
        return Scored(scores, np.broadcast_to(self.model.weights, scores.shape), self.graph)


def _keep(values: np.ndarray, pending: Pending) -> None:
    keys, got = pending.collect()
    check_finite(got, keys, "scores")
    values[keys] = got


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
