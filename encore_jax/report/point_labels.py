"""Names beside the points of a scatter plot, where they cover the least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

SIZE = 7.5
"""Of the names, in points."""
_SIDES = ((1, 0), (-1, 0), (0.75, 0.9), (0.75, -0.9), (-0.75, 0.9), (-0.75, -0.9), (0, 1.3), (0, -1.3))
_DISTANCES = (5.0, 10.0, 17.0)


def place_labels(axes: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray, line: np.ndarray) -> None:
    """Writes each name near its point, away from other names, points, error bars and a line as far as that goes.

    Args:
      axes: with its limits and its place in the figure set.
      names: N names.
      x: ``[N]``.
      y: ``[N, 3]``, value, low, high.
      line: points on the line, ``[P, 2]``.
    """
    to_points = 72 / axes.figure.dpi
    frame = axes.get_window_extent().extents * to_points
    at = axes.transData.transform(np.stack([x, y[:, 0]], 1)) * to_points
    ends = [axes.transData.transform(np.stack([x, np.nan_to_num(y[:, k], nan=50.0)], 1))[:, 1] for k in (1, 2)]
    bars = np.stack([at[:, 0] - 1, ends[0] * to_points, at[:, 0] + 1, ends[1] * to_points], 1)
    dots = np.concatenate([at - 4, at + 4], 1)
    steps = axes.transData.transform(line).reshape(-1, 2) * to_points
    steps = np.concatenate([steps - 1.5, steps + 1.5], 1)
    taken: list[np.ndarray] = []
    for i in np.argsort(at[:, 0], kind="stable"):
        width, height = 0.53 * SIZE * len(names[i]), 1.25 * SIZE
        best = None
        for distance in _DISTANCES:
            for side in _SIDES:
                center = at[i] + np.array(side) * (distance, distance) + np.sign(side[0]) * np.array([width / 2, 0])
                box = np.concatenate([center - (width / 2, height / 2), center + (width / 2, height / 2)])
                cost = 3 * _overlap(box, np.array(taken).reshape(-1, 4)) + 2 * _overlap(box, dots)
                cost += 2 * _overlap(box, bars) + _overlap(box, steps) + 10 * _outside(box, frame) + distance
                if best is None or cost < best[0]:
                    best = cost, center, box
        taken.append(best[2])
        away = best[1] - at[i]
        leader = (
            {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkB": 3} if np.abs(away[1]) > 9 else None
        )
        axes.annotate(
            names[i],
            (x[i], y[i, 0]),
            tuple(away),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SIZE,
            arrowprops=leader,
            zorder=4,
        )


def _overlap(box: np.ndarray, others: np.ndarray) -> float:
    """Area that ``[4]`` left, bottom, right, top shares with ``[N, 4]`` others."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.prod(np.maximum(shared, 0), axis=1).sum())


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    return float(np.maximum(frame[:2] - box[:2], 0).sum() + np.maximum(box[2:] - frame[2:], 0).sum())
