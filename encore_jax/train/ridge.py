"""Rule heads in closed form: masked multi-output ridge on frozen features.

For rule k with mask m_k, centred on the rated rows (as scikit-learn's `Ridge` with an intercept),

    W_k = argmin_w Σ_n m_nk (ψ_nk - b_k - w·h_n)² + α_k |w|²

ENCORE trains its heads by multi-output regression on the ratings; ArmoRM's stage 1 is the same fit without intercept.
α_k is chosen per rule by cross-validation whose folds never split a prompt.

All of it is NumPy and SciPy on the host, in float64, one factorisation at a time: batches of LAPACK calls in one XLA
program wait for each other for ever on CPU. Rules with the same mask share their factorisations.

Letters: N responses, D features, K rules, R of them with one mask, A values of α, F folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.linalg
import threadpoolctl
from jaxtyping import Bool, Float, Int

from encore_jax.errors import InputError
from encore_jax.train.feature_scale import feature_scale
from encore_jax.train.settings import ALPHAS

SINGULAR = 1e-13
"""A pivot below this share of the largest entry, times the number of rows, is rounding: no fit."""

ONE_THREAD = 1024
"""Matrices up to this size are factored by one thread: more of them wait for each other longer than they work, many
times longer on a machine that has other work."""

EQUAL = 1e-9
"""Errors closer than this share of the smallest, and those of this share of the ratings' size, are equal."""


class RidgeFit(NamedTuple):
    """Fitted heads: scores are ``features @ kernel + bias``.

    Attributes:
      kernel: ``[D, K]``.
      bias: ``[K]``.
      alpha: ``[K]``, chosen per rule.
      validation_mse: ``[A, K]``, mean squared error on the held-out folds, by ascending α.
      held_out_scores: ``[N, K]``, every row's scores by heads that saw no row of its fold.
    """

    kernel: np.ndarray
    bias: np.ndarray
    alpha: np.ndarray
    validation_mse: np.ndarray
    held_out_scores: np.ndarray


def ridge_path(
    x_NxD: Float[np.ndarray, "N D"], y_NxR: Float[np.ndarray, "N R"], alphas_A: Float[np.ndarray, " A"]
) -> tuple[Float[np.ndarray, "A D R"], Float[np.ndarray, "A R"]]:
    """Coefficients and intercepts of rules that are all rated on the same rows, for every α, in float64.

    By the normal equations, or where there are fewer rows than features by their dual; NaN where α is too small for
    float64 to tell the matrix from a singular one.
    """
    x_mean, y_mean = x_NxD.mean(0, dtype=np.float64), y_NxR.mean(0, dtype=np.float64)
    x_NxD, y_NxR = x_NxD - x_mean, y_NxR - y_mean
    dual = len(x_NxD) < x_NxD.shape[1]
    with threadpoolctl.threadpool_limits(1 if min(x_NxD.shape) <= ONE_THREAD else None, user_api="blas"):
        gram, target = (x_NxD @ x_NxD.T, y_NxR) if dual else (x_NxD.T @ x_NxD, x_NxD.T @ y_NxR)
        coefficient = np.stack([_solved(gram, target, alpha) for alpha in alphas_A])
        coefficient = x_NxD.T @ coefficient if dual else coefficient
    return coefficient, y_mean - x_mean @ coefficient


def _solved(gram: np.ndarray, target: np.ndarray, alpha: float) -> np.ndarray:
    """``(gram + α)⁻¹ target``, or NaN."""
    matrix = gram.copy(order="F")
    np.einsum("ii->i", matrix)[:] += alpha
    largest = np.diagonal(matrix).max(initial=0.0)
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return np.full_like(target, np.nan)
    if np.diagonal(factor[0]).min(initial=np.inf) ** 2 <= SINGULAR * len(gram) * largest:
        return np.full_like(target, np.nan)
    return scipy.linalg.cho_solve(factor, target, check_finite=False)


def _masks(where_NxK: Bool[np.ndarray, "N K"]) -> Iterator[tuple[Bool[np.ndarray, " N"], Int[np.ndarray, " R"]]]:
    """Every distinct mask, with the rules that have it."""
    masks, position = np.unique(where_NxK, axis=1, return_inverse=True)
    for i, mask in enumerate(masks.T):
        yield mask, np.flatnonzero(position == i)


def ridge_heads(
    x_NxD: Float[np.ndarray, "N D"],
    ratings: Float[np.ndarray, "N K"],
    where: Bool[np.ndarray, "N K"],
    alpha: Float[np.ndarray, " K"],
) -> tuple[Float[np.ndarray, "D K"], Float[np.ndarray, " K"]]:
    """Kernel and bias, float64, by each rule's own penalty.

    Args:
      x_NxD, alpha: scaled features, and the penalties that suit them.
      ratings, where: finite ratings, and which of them exist.

    Raises:
      InputError: a rule without ratings, or a penalty too small for a finite fit.
    """
    kernel, bias = np.zeros((x_NxD.shape[1], len(alpha))), np.zeros(len(alpha))
    for mask, rules in _masks(where):
        if not mask.any():
            raise InputError("has no rating", where=f"rule {rules[0]}", fix="rate more responses, or drop the rule")
        penalties, position = np.unique(alpha[rules], return_inverse=True)
        coefficient, intercept = ridge_path(x_NxD[mask], ratings[mask][:, rules], penalties)
        own = np.arange(len(rules))
        kernel[:, rules], bias[rules] = coefficient[position, :, own].T, intercept[position, own]
    for k in np.flatnonzero(np.isnan(bias)):
        raise InputError(f"α = {alpha[k]:g} gives no finite fit", where=f"rule {k}", fix="use a larger α")
    return kernel, bias


def _cross_fit(x_NxD, ratings, where, fold_N, alphas) -> Float[np.ndarray, "A N K"]:
    """Every row's scores by heads that saw no row of its fold, for every α."""
    held_out = np.zeros((len(alphas), *ratings.shape))
    for mask, rules in _masks(where):
        for fold in np.unique(fold_N):
            fitted_on, rows = mask & (fold_N != fold), np.flatnonzero(fold_N == fold)
            coefficient, intercept = ridge_path(x_NxD[fitted_on], ratings[fitted_on][:, rules], alphas)
            scores = x_NxD[rows] @ coefficient + intercept[:, None]
            held_out[:, rows[:, None], rules] = scores
    return held_out


def fit_ridge(
    features: Float[np.ndarray, "N D"],
    ratings: Float[np.ndarray, "N K"],
    where: Bool[np.ndarray, "N K"],
    fold: Int[np.ndarray, " N"],
    alphas: tuple[float, ...] = ALPHAS,
) -> RidgeFit:
    """Fits one head per rule, choosing each rule's α by cross-validation.

    Features are scaled by their standard deviation before the fit, and the scale is folded back into the kernel.

    Args:
      features: fp32 ``[N, D]``.
      ratings: ``[N, K]``; masked entries are ignored.
      where: bool ``[N, K]``, which ratings exist.
      fold: int ``[N]``, 0..F-1; rows of one prompt must share a fold.
      alphas: the grid, each positive; ties go to the larger α.

    Raises:
      InputError: shapes do not fit, features or ratings are not finite, a rule is rated in fewer than two folds, the
        grid has no value at which the fit is finite, or heads do not fit into fp32.
    """
    features, where, fold = np.asarray(features, np.float32), np.asarray(where, bool), np.asarray(fold)
    _check(features, ratings, where, fold, alphas)
    ratings = np.where(where, ratings, 0).astype(np.float32)
    for k in range(where.shape[1]):
        if len(set(fold[where[:, k]])) < 2:
            raise InputError(
                f"has {int(where[:, k].sum())} ratings, in fewer than two folds",
                where=f"rule {k}",
                fix="rate more prompts, use fewer folds, or drop the rule",
            )
    scale, alphas_A = feature_scale(features), np.sort(np.asarray(alphas, np.float64))[::-1]
    x = features / scale
    held_out = _cross_fit(x, ratings, where, fold, alphas_A)
    error = np.where(where, (held_out - ratings) ** 2, 0).sum(1) / where.sum(0)
    if np.isnan(error).all(0).any():
        k = int(np.flatnonzero(np.isnan(error).all(0))[0])
        raise InputError("no α gives a finite fit", where=f"rule {k}", fix="add larger values to the α grid")
    size = np.where(where, ratings.astype(np.float64) ** 2, 0).sum(0) / where.sum(0)
    best = (error <= np.nanmin(error, 0) * (1 + EQUAL) + (EQUAL**2) * size).argmax(0)
    kernel, bias = ridge_heads(x, ratings, where, alphas_A[best])
    chosen = held_out[best, :, np.arange(len(best))].T
    return RidgeFit(
        kernel=_float32(kernel / scale[:, None], "kernel"),
        bias=_float32(bias, "bias"),
        alpha=alphas_A[best].astype(np.float32),
        validation_mse=error[::-1],
        held_out_scores=_float32(chosen, "held-out scores"),
    )


def _float32(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if not np.isfinite(converted).all():
        raise InputError(
            f"the {what} reach {np.abs(values).max():.3g}, more than float32 holds",
            where="fit_ridge",
            fix="rescale the ratings, or features that are nearly 0 everywhere",
        )
    return converted


def _check(features, ratings, where, fold, alphas) -> None:
    shapes = [np.shape(array) for array in (features, ratings, where, fold)]
    rows = shapes[0][:1]
    if (
        list(map(len, shapes)) != [2, 2, 2, 1]
        or shapes[1] != shapes[2]
        or not rows == shapes[1][:1] == shapes[3] != (0,)
    ):
        raise InputError(
            f"features {shapes[0]}, ratings {shapes[1]}, mask {shapes[2]} and folds {shapes[3]} do not fit",
            where="fit_ridge",
            fix="pass [N, D], [N, K], [N, K] and [N], with at least one row",
        )
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
        raise InputError("features are not finite", where=f"features, row {row}", fix="recompute them in fp32")
    bad = where & ~np.isfinite(ratings)
    if bad.any():
        row, k = np.argwhere(bad)[0]
        raise InputError("the rating is not finite", where=f"row {row}, rule {k}", fix="mask it")
    if not len(alphas) or min(alphas) <= 0:
        raise InputError(f"got {alphas}", where="alphas", fix="give at least one penalty, all of them positive")
