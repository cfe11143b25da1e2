"""The decisions of an ablation's settings, part by part, as tables.

Letters: S settings, N comparisons.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from encore_jax.evaluation.ablation_axes import DRAW_AXES, AblationAxes
from encore_jax.evaluation.ablation_grid import Grid
from encore_jax.evaluation.ablation_inputs import AblationInputs
from encore_jax.evaluation.ablation_kernel import Tables, decide_range, settings_mesh, tile_here

AT_ONCE = 2**16
"""Settings decided by one call, which bounds memory."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive weightings of one draw: the settings of one file.

    Attributes:
      draw: number of the draw.
      first, count: weightings (settings but for the replicate) within the draw.
    """

    draw: int
    first: int
    count: int

    @property
    def file(self) -> str:
        """Its name."""
        return f"part-{self.draw:04d}-{self.first:012d}.parquet"


def parts_of(grid: Grid, size: int) -> list[Part]:
    """The grid cut into parts of about `size` settings, in the order of the settings' numbers."""
    draws, replicates = math.prod(grid.shape[: len(DRAW_AXES)]), grid.shape[-1]
    weightings = grid.size // draws // replicates
    step = min(weightings, max(1, size // replicates))
    starts = range(0, weightings, step)
    return [Part(draw, first, min(step, weightings - first)) for draw in range(draws) for first in starts]


class Decider:
    """Holds what settings choose from on the devices; called with a part, it decides it.

    Args:
      inputs: what settings choose from.
      axes: what they choose.
    """

    def __init__(self, inputs: AblationInputs, axes: AblationAxes):
        self._entropy, self._margin, self._tolerance = inputs.entropy, inputs.margin, inputs.tolerance
        self._drawn = inputs.times.sum(1)
        self._tau, self._subset = jnp.asarray(axes.taus, jnp.float32), jnp.asarray(inputs.subset)
        self._prior = jnp.asarray(inputs.prior) if tuple(axes.agreement) != ("no",) else None
        self._times = jnp.asarray(inputs.times) if axes.replicates else None
        self._mesh, self._tile = settings_mesh(), tile_here()

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Accuracy (ties half), correct and ties of the part's settings, one after another."""
        tables = Tables(jnp.asarray(self._entropy[part.draw]), self._tau, self._subset, self._prior)
        row = part.draw % len(self._margin)
        margin, tolerance = jnp.asarray(self._margin[row]), jnp.asarray(self._tolerance[row])
        count, found = min(part.count, AT_ONCE // self._drawn.size + 1), []
        for first in range(part.first, part.first + part.count, count):
            start = jnp.asarray(np.unravel_index(first, tables.shape), jnp.int32)
            decided = decide_range(
                margin, tables, start, self._times,
                count=count, mesh=self._mesh, tile=self._tile, tolerance=tolerance,
            )  # fmt: skip
            kept = min(count, part.first + part.count - first)
            found.append([np.asarray(counts)[:kept].reshape(kept, -1) for counts in decided])
        correct, ties = (np.concatenate(pieces) for pieces in zip(*found, strict=True))
        accuracy = (correct + 0.5 * ties) / self._drawn
        return tuple(array.ravel() for array in (accuracy.astype(np.float32), *np.int32([correct, ties])))


def part_table(grid: Grid, part: Part, accuracy: np.ndarray, correct: np.ndarray, ties: np.ndarray) -> pa.Table:
    """A row per setting: its number, what it chooses on every axis, and its outcome."""
    replicates = grid.shape[-1]
    weightings = math.prod(grid.shape[len(DRAW_AXES) : -1])
    first = (part.draw * weightings + part.first) * replicates
    index = np.arange(first, first + part.count * replicates, dtype=np.int64)
    columns = {"index": pa.array(index)}
    for axis, digits in zip(grid.axes, np.unravel_index(index, grid.shape), strict=True):
        digits = digits.astype(np.int32)
        if isinstance(axis.values, range):
            columns[axis.name] = pa.array(digits)
        else:
            columns[axis.name] = pa.DictionaryArray.from_arrays(pa.array(digits), pa.array(list(axis.values)))
    return pa.table(columns | {"accuracy": accuracy, "correct": correct, "ties": ties})
