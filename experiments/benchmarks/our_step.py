"""The training step of this project that the benchmarks time, and how many FLOPs its texts need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore_jax.parallel.flops import matrix_entries
from encore_jax.train.gradient import TrainBatch
from encore_jax.train.program import Program
from encore_jax.train.state import TrainState


class Prepared(NamedTuple):
    """A run that is about to take its first step.

    Attributes:
      program, state: the compiled step and what it starts from.
      batches: an endless supply; the caller closes it.
      packing_efficiency: share of a step's places that hold tokens, over all comparisons.
    """

    program: Program
    state: TrainState
    batches: Iterator[TrainBatch]
    packing_efficiency: float


def prepare(sequences, folder: Path, dtype: str, seed: int, *, rows: int, length: int, rate: float, remat: str):
    """A Bradley-Terry run of all parameters of the model in a folder, on two token sequences per comparison."""
    import jax

    from encore_jax.checkpoints.huggingface import load_backbone, load_config
    from encore_jax.parallel.mesh import MeshSettings, make_mesh
    from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
    from encore_jax.train.batches import training_batches
    from encore_jax.train.packing import count_steps, packed_steps
    from encore_jax.train.program import make_program
    from encore_jax.train.settings import TrainSettings

    trees = lay_comparisons(sequences, length).trees
    settings = TrainSettings(
        rows=rows, length=length, loss="bradley_terry", trainable="all", remat=remat, lr=rate, clip=1.0
    )
    program = make_program(load_config(folder), 1, settings, make_mesh(MeshSettings()), steps=1000, dtype=dtype)
    _, efficiency = count_steps(packed_steps(trees, program.shape, seed, 1))
    backbone = load_backbone(folder, program.param_dtype, program.param_shardings["backbone"])[1]
    targets = preference_targets(len(sequences) // 2)
    batches = iter(training_batches(trees, targets, program.shape, seed, 1))
    return Prepared(program, program.start(backbone, jax.random.key(0)), batches, efficiency)


def needed_flops(program: Program, batch: TrainBatch) -> int:
    """FLOPs of a step that trains everything, of what its trees need and nothing else.

    `Program.flops` counts every place of a row, and in attention all places before it. This counts tokens without the
    padding, and of attention the pairs of a query and a key of its own path; a prefix counts once.
    """
    cfg, trees = program.cfg, batch.trees
    tokens = int((np.asarray(trees.tree) > 0).sum())
    each = 2 * matrix_entries(cfg) * tokens
    attention = 4 * cfg.heads * cfg.head_dim * cfg.layers * visible_pairs(trees.tree, trees.branch)
    heads = 2 * cfg.width * program.rules * trees.end_row.size
    return 3 * (each + attention + heads)


def visible_pairs(tree: np.ndarray, branch: np.ndarray) -> int:
    """Pairs of a query and a key that it may see, in full attention; see `encore_jax.data.prefix_tree`.

    >>> visible_pairs(np.array([[1, 1, 1, 1, 1, 0]]), np.array([[0, 0, 1, 1, 2, 0]]))  # 1 + 2, 3 + 4, 3
    13
    """
    length = tree.shape[-1]
    pairs = 0
    for ids, branches in zip(tree.reshape(-1, length), branch.reshape(-1, length), strict=True):
        for number in np.unique(ids[ids > 0]):
            sizes = np.bincount(branches[ids == number], minlength=1)
            prefix = int(sizes[0])
            pairs += sum(int(n) * (int(n) + 1) // 2 for n in sizes) + prefix * int(sizes[1:].sum())
    return pairs
