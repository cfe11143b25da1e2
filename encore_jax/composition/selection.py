"""Which rules matter for one comparison: critical rules by relevance and maximum discrepancy (RuleAdapter).

Letters: N comparisons (any leading axes), K rules, r selected rules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import flags, is_traced, numbers
from encore_jax.composition.ties import INPUT_ERRORS, UNIT_ROUNDOFF
from encore_jax.errors import InputError

NONE = -1
"""Stands for "no rule" where a comparison has fewer usable rules than were asked for."""
CHUNK = 2048
"""Comparisons whose scores stay in a CPU core's cache while the r largest are taken from them."""


def discrepancy(ratings: Float[Array, "*N 2 K"]) -> Float[Array, "*N K"]:
    """``|ψ_k(x, y_a) - ψ_k(x, y_b)|`` of every rule; the same whichever response comes first."""
    ratings = _both(ratings, "ratings")
    return jnp.abs(ratings[..., 0, :] - ratings[..., 1, :])


def _both(values, name: str) -> Float[Array, "*N 2 K"]:
    values = numbers(values, name, rank=2)
    if values.shape[-2] != 2:
        raise InputError(f"has shape {values.shape}", where=name, fix="pass pairs: [..., 2, K]")
    return values


def mean_relevance(irrelevant: Float[Array, "*N 2 K"]) -> Float[Array, "*N K"]:
    """One relevance per rule from a judge's P("Irrelevant") of both responses: ``1 - (p_a + p_b) / 2``.

    >>> mean_relevance(jnp.array([[0.5], [1.0]])).tolist()
    [0.25]
    """
    irrelevant = _both(irrelevant, "irrelevant")
    return 1.0 - (irrelevant[..., 0, :] + irrelevant[..., 1, :]) / 2


def critical_rules(
    ratings: Float[Array, "*N 2 K"],
    relevance: Float[Array, "*N K"] | None = None,
    r: int = 5,
    *,
    where: Bool[Array, "*N 2 K"] | None = None,
    half: float = 0.5,
) -> Int[Array, "*N r"]:
    """The r rules of largest ``C_k = relevance_k + ½ |ψ_k(a) - ψ_k(b)|`` of every comparison.

    Args:
      ratings: ``[..., 2, K]``. The paper's ½ belongs to ratings in [-1, 1]; on [0, 1] the same choice is `half` = 1.
      relevance: ``[..., K]``; left out, the discrepancy alone decides.
      r: how many.
      where: ``[..., 2, K]``; a rule counts only where both responses are rated, and is never chosen elsewhere.
      half: the factor of the discrepancy; 0 leaves relevance alone.

    Returns:
      int32 ``[..., r]``, most critical first, ties to the earlier rule; -1 where no usable rule is left. Scores tie if
      the rounding of ratings may be all that tells them apart. The choice does not depend on which response comes
      first.

    Raises:
      InputError: other shapes, r outside 1..K, nothing to choose by, or (not under `jax.jit`) an unmasked rating or
        relevance that is not finite.

    >>> ratings = jnp.array([[[1.0, 0.0, 0.5], [0.0, 0.0, 1.0]]])
    >>> critical_rules(ratings, r=2).tolist()
    [[0, 2]]
    >>> critical_rules(ratings, jnp.array([[0.0, 1.0, 0.5]]), r=2).tolist()
    [[1, 2]]
    """
    ratings = numbers(ratings, "ratings", finite=False)
    relevance = relevance if relevance is None else numbers(relevance, "relevance", finite=False)
    shape = jnp.shape(ratings)
    if len(shape) < 2 or shape[-2] != 2:
        raise InputError(f"ratings have shape {shape}", where="critical_rules", fix="pass pairs: [..., 2, K]")
    scores_shape = (*shape[:-2], shape[-1])
    _check_r(r, shape[-1])
    for name, given, wanted in (("relevance", relevance, scores_shape), ("where", where, shape)):
        if given is not None and jnp.shape(given) != wanted:
            raise InputError(f"{name} has shape {jnp.shape(given)}, not {wanted}", where="critical_rules")
    if relevance is None and half == 0:
        raise InputError("there is neither relevance nor discrepancy", where="critical_rules", fix="give relevance")
    arrays = {"ratings": jnp.asarray(ratings, jnp.float32).reshape(-1, 2, shape[-1])}
    if relevance is not None:
        arrays["relevance"] = jnp.asarray(relevance, jnp.float32).reshape(-1, shape[-1])
    if where is not None:
        arrays["where"] = flags(where).reshape(-1, 2, shape[-1])
    rules, finite = _select(arrays, r, float(half))
    if not is_traced(*arrays.values()) and not bool(finite):
        _name_the_bad(arrays)
    return rules.reshape(*shape[:-2], r)


def top_rules(scores: Float[Array, "*N K"], r: int, where: Bool[Array, "*N K"] | None = None) -> Int[Array, "*N r"]:
    """The r rules of largest score, e.g. of an adapter's probabilities; see `critical_rules` for order and -1.

    Raises:
      InputError: r outside 1..K, a mask of another shape, or (not under `jax.jit`) an unmasked score that is NaN.

    >>> top_rules(jnp.array([0.25, 0.75, 0.75]), 2).tolist()
    [1, 2]
    """
    scores = numbers(scores, "scores", finite=False)
    shape = jnp.shape(scores)
    _check_r(r, shape[-1] if shape else 0)
    arrays = {"scores": jnp.asarray(scores, jnp.float32).reshape(-1, shape[-1])}
    if where is not None:
        if jnp.shape(where) != shape:
            raise InputError(f"the mask has shape {jnp.shape(where)}, the scores {shape}", where="top_rules")
        arrays["where"] = flags(where).reshape(-1, shape[-1])
    rules, finite = _select(arrays, r, 0.0)
    if not is_traced(*arrays.values()) and not bool(finite):
        raise InputError("an unmasked score is not finite", where="top_rules", fix="mask it, or score it again")
    return rules.reshape(*shape[:-1], r)


def random_rules(key: Array, where: Bool[Array, "*N K"], r: int) -> Int[Array, "*N r"]:
    """r distinct usable rules of every comparison, drawn at random: the floor every selection must beat."""
    where = flags(where)
    if not where.ndim:
        raise InputError("is no array", where="where", fix="pass [..., K], the rules that may be drawn")
    return top_rules(jax.random.uniform(key, where.shape), r, where)


def selected(rules: Int[Array, "*N r"], num_rules: int) -> Bool[Array, "*N K"]:
    """The selection as a mask, multi-hot: what a Rule Adapter is to predict.

    >>> selected(jnp.array([2, -1]), 3).tolist()
    [False, False, True]
    """
    rules = numbers(rules, "rules", rank=1, dtype=None)
    hot = jnp.asarray(rules)[..., None] == jnp.arange(num_rules).reshape((1,) * jnp.ndim(rules) + (-1,))
    return hot.any(-2)


def _check_r(r: int, num_rules: int) -> None:
    if isinstance(r, bool) or not isinstance(r, int | np.integer):
        raise InputError(f"is {str(r)[:60]}, no whole number", where="r", fix=f"choose between 1 and {num_rules}")
    if not 1 <= r <= num_rules:
        raise InputError(f"{r} of {num_rules} rules", where="r", fix=f"choose between 1 and {num_rules}")


def _scores(arrays: dict[str, Array], half: float) -> tuple[Array, Array, Array]:
    """Scores of some comparisons ``[N, K]`` with -inf where masked, how far rounding may have moved them ``[N]``, and
    whether all others are finite."""
    tolerance = jnp.zeros(len(jax.tree.leaves(arrays)[0]), jnp.float32)
    if "scores" in arrays:
        scores, usable = arrays["scores"], arrays.get("where")
    else:
        usable = arrays["where"].all(1) if "where" in arrays else None
        scores = half * discrepancy(arrays["ratings"]) if half else jnp.zeros_like(arrays["relevance"])
        if half:  # equal steps of a grid differ by rounding, and which rule is chosen shall not depend on that
            size = jnp.abs(arrays["ratings"]).sum(1)
            size = size if usable is None else jnp.where(usable, size, 0.0)
            tolerance = half * UNIT_ROUNDOFF * INPUT_ERRORS * size.max(1)
        scores = scores + arrays["relevance"] if "relevance" in arrays else scores
    finite = jnp.isfinite(scores)
    scores = jnp.where(scores == 0, 0.0, scores)  # -0 and 0 tie
    if usable is None:
        return scores, tolerance, finite.all()
    return jnp.where(usable, scores, -jnp.inf), tolerance, (finite | ~usable).all()


@functools.partial(jax.jit, static_argnames=("r", "half"))
def _select(arrays: dict[str, Array], r: int, half: float) -> tuple[Array, Array]:
    scores_of = functools.partial(_scores, half=half)
    return jax.lax.platform_dependent(
        arrays,
        cpu=functools.partial(_by_chunks, r=r, scores_of=scores_of),
        default=functools.partial(_by_maxima, r=r, scores_of=scores_of),
    )


def _by_maxima(arrays: dict[str, Array], r: int, scores_of: Callable) -> tuple[Array, Array]:
    """r masked maxima, vectorised over comparisons; of rules that tie for the largest score the first is taken."""
    scores, tolerance, finite = scores_of(arrays)
    scores_KxN = scores.T
    number = jax.lax.broadcasted_iota(jnp.int32, scores_KxN.shape, 0)
    rules = []
    for _ in range(r):
        largest = scores_KxN.max(0, keepdims=True)
        first = jnp.where(scores_KxN >= largest - tolerance[None], number, scores_KxN.shape[0]).min(0, keepdims=True)
        rules.append(jnp.where(largest == -jnp.inf, NONE, first))
        scores_KxN = jnp.where(number == first, -jnp.inf, scores_KxN)
    return jnp.concatenate(rules).T, finite


def _by_chunks(arrays: dict[str, Array], r: int, scores_of: Callable) -> tuple[Array, Array]:
    """The same, ten times faster on CPUs."""
    one = functools.partial(_by_maxima, r=r, scores_of=scores_of)
    count = jax.tree.leaves(arrays)[0].shape[0]
    if count <= CHUNK:
        return one(arrays)

    def add(i, carry):
        start = jnp.minimum(i * CHUNK, count - CHUNK)  # the last chunk overlaps the one before
        part = {name: jax.lax.dynamic_slice_in_dim(array, start, CHUNK) for name, array in arrays.items()}
        rules, finite = one(part)
        return jax.lax.dynamic_update_slice_in_dim(carry[0], rules, start, 0), carry[1] & finite

    return jax.lax.fori_loop(0, -(-count // CHUNK), add, (jnp.zeros((count, r), jnp.int32), jnp.array(True)))


def _name_the_bad(arrays: dict[str, Array]) -> None:
    where = np.asarray(arrays.get("where", True)) & np.ones(arrays["ratings"].shape, bool)
    for name, usable in (("ratings", where), ("relevance", where.all(1))):
        if name in arrays:
            for row, *_, k in np.argwhere(~np.isfinite(arrays[name]) & usable)[:1]:
                raise InputError(
                    f"the {name.removesuffix('s')} is not finite", where=f"comparison {row}, rule {k}", fix="mask it"
                )
    raise InputError("ratings overflow", where="critical_rules", fix="rescale them")
