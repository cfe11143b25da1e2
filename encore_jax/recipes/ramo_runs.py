"""Which labels RAMO makes, and which reward models it trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from encore_jax.recipes.ramo_config import WITHOUT_R


class Cell(NamedTuple):
    """One kind of labels.

    Attributes:
      arm: of `ARMS`.
      r: selected rules; 0 for arms that select nothing.
    """

    arm: str
    r: int

    @property
    def name(self) -> str:
        return f"{self.arm}.r{self.r}"


def cells_of(arms: Sequence[str], r: int, rs: Sequence[int] = ()) -> list[Cell]:
    """Every arm at r selected rules and at every other of `rs`; the untouched model has no labels.

    >>> [cell.name for cell in cells_of(("initial", "human", "adapter"), 5, (1, 5))]
    ['human.r0', 'adapter.r5', 'adapter.r1']
    """
    several = tuple(dict.fromkeys((r, *rs)))
    return [Cell(arm, n) for arm in arms if arm != "initial" for n in ((0,) if arm in WITHOUT_R else several)]


class Run(NamedTuple):
    """One reward model.

    Attributes:
      cell: whose labels.
      size: training comparisons drawn; 0 is all.
      seed: of the draw.
    """

    cell: Cell
    size: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.cell.name}.n{self.size}.s{self.seed}"


def runs_of(cells: Sequence[Cell], r: int, sizes: Sequence[int], seeds: int) -> list[Run]:
    """Every cell on all comparisons; the smaller sizes only of cells that select r rules, or none.

    >>> [run.name for run in runs_of([Cell("adapter", 5), Cell("adapter", 1)], 5, (100,), 1)]
    ['adapter.r5.n0.s0', 'adapter.r5.n100.s0', 'adapter.r1.n0.s0']
    """
    sizes_of = {cell: (0, *sizes) if cell.r in (0, r) else (0,) for cell in cells}
    return [Run(cell, size, seed) for cell in cells for size in sizes_of[cell] for seed in range(seeds)]
