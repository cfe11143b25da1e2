"""Choosing K diverse rules out of M: determinantal point processes on the Gram matrix of their ratings.

A set S of rules is as likely as the determinant of its part of the Gram matrix, P(S) ∝ det(L_S): the squared volume
that the rules' rating vectors span. Rules that are rated alike add none, so a large determinant means little
redundancy.

    greedy MAP   adds the rule with the largest gain log det(L_{S+i}) - log det(L_S), by a Cholesky factor that grows by
                 one row a step (Chen, Zhang, Zhou 2018, arXiv 1709.05135): O(M K) a step
    k-DPP        draws S of exactly K rules with that probability (Kulesza, Taskar 2011): K eigenvectors by elementary
                 symmetric polynomials of the eigenvalues, then rules one by one

Letters: N rated responses, M candidate rules, K chosen ones.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import flags, is_traced, numbers
from encore_jax.errors import InputError

TIED = 1e-5
"""Relative difference of gains that rounding alone can make: the earlier rule is taken, whatever the ratings' scale."""
SINGULAR = 1e-5
"""A rule whose squared distance from the span of those chosen is below this share of its own length adds nothing."""


def rating_gram(
    ratings: Float[Array, "N M"], where: Bool[Array, "N M"] | None = None, *, centred: bool = True
) -> Float[Array, "M M"]:
    """Gram matrix of the rules' rating vectors, each scaled to length 1; centred it is their correlation matrix.

    A missing rating counts as its rule's mean (as 0 if not centred). A constant rule has length 0 when centred.

    >>> rating_gram(jnp.array([[0.0, 1.0], [1.0, 0.0]])).round(3).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    ratings = numbers(ratings, "ratings", finite=False)
    seen = jnp.ones(ratings.shape, bool) if where is None else flags(where)
    if ratings.ndim != 2 or seen.shape != ratings.shape:
        raise InputError(f"ratings {ratings.shape}, mask {seen.shape}", where="rating_gram", fix="pass [N, M] both")
    values = jnp.where(seen, ratings, 0.0)
    if not is_traced(values) and not np.isfinite(values).all():
        row, rule = np.argwhere(~np.isfinite(values))[0]
        raise InputError("the rating is not finite", where=f"response {row}, rule {rule}", fix="mask it")
    size = jnp.abs(values).max(0, keepdims=True, initial=0.0)
    values = jnp.where(size > 1e15, values / jnp.maximum(size, 1.0), values)  # whose squares would overflow
    if centred:
        mean = values.sum(0, keepdims=True) / jnp.maximum(seen.sum(0, keepdims=True).astype(jnp.float32), 1)
        values = jnp.where(seen, values - mean, 0.0)
    length = jnp.sqrt((values * values).sum(0, keepdims=True))
    values = jnp.where(length > 1e-6 * jnp.sqrt(len(values)), values / jnp.maximum(length, 1e-30), 0.0)
    return jnp.matmul(values.T, values, precision=jax.lax.Precision.HIGHEST)


def greedy_map(gram: Float[Array, "M M"], k: int) -> tuple[Int[Array, " K"], Float[Array, " K"]]:
    """K rules chosen one by one, each for the largest determinant with those before it.

    Returns:
      The rules in the order of their choice, and each one's gain: the log of its squared distance from the span of the
      rules before it. The gains add up to log det(L_S).

    Raises:
      InputError: k is not between 1 and M, or the Gram matrix's rank is below k.

    >>> gram = jnp.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.8]])
    >>> greedy_map(gram, 2)[0].tolist()
    [0, 2]
    """
    gram = _checked(gram, k)
    chosen, gains = _greedy(gram, k)
    length = jnp.diagonal(gram)[chosen]
    bad = np.flatnonzero(np.asarray(gains) <= SINGULAR * np.asarray(length))
    if bad.size:
        raise _rank(int(bad[0]), k)
    return chosen, jnp.log(gains)


@functools.partial(jax.jit, static_argnames="k")
def _greedy(gram, k):
    m = gram.shape[0]

    def step(i, state):
        factor_KM, left_M, chosen_K, gains_K = state  # left: squared distance of each rule from the span chosen so far
        most = left_M.max()
        best = jnp.argmax(left_M >= most - TIED * jnp.abs(most))  # the first of those that only rounding tells apart
        gain = left_M[best]
        row = (gram[best] - factor_KM[:, best] @ factor_KM) / jnp.sqrt(jnp.maximum(gain, 1e-30))
        taken = jnp.arange(m) == best
        left_M = jnp.where(taken | jnp.isneginf(left_M), -jnp.inf, left_M - row * row)
        return factor_KM.at[i].set(row), left_M, chosen_K.at[i].set(best), gains_K.at[i].set(gain)

    start = (jnp.zeros((k, m), gram.dtype), jnp.diagonal(gram), jnp.zeros(k, jnp.int32), jnp.zeros(k, gram.dtype))
    _, _, chosen, gains = jax.lax.fori_loop(0, k, step, start)
    return chosen, gains


def sample_kdpp(gram: Float[Array, "M M"], k: int, key: Array) -> Int[Array, " K"]:
    """Draws K different rules with probability ∝ det(L_S); in ascending order.

    Raises:
      InputError: k is not between 1 and M, or the Gram matrix's rank is below k.
    """
    gram = _checked(gram, k)
    eigenvalues, vectors = np.linalg.eigh(np.asarray(gram, np.float64))
    rank = int((eigenvalues > 1e-7 * eigenvalues[-1]).sum())  # fp32 ratings leave about so much noise
    if rank < k:
        raise _rank(rank, k)
    # Rounding leaves tiny, even negative eigenvalues where the matrix is singular.
    log_eigenvalues = np.where(eigenvalues > 0, np.log(np.maximum(eigenvalues, 1e-300)), -np.inf)
    return _sample(jnp.asarray(log_eigenvalues, jnp.float32), jnp.asarray(vectors, jnp.float32), k, key)


def log_elementary_symmetric(log_x: Float[Array, " M"], k: int) -> Float[Array, "M+1 K+1"]:
    """Logs of the elementary symmetric polynomials: entry ``[m, j]`` is e_j of the first m numbers.

    Sums of positive terms, by log-add-exp, so that nothing cancels and nothing overflows.

    >>> [round(float(jnp.exp(e)), 3) for e in log_elementary_symmetric(jnp.log(jnp.array([1.0, 2.0, 3.0])), 2)[3]]
    [1.0, 6.0, 11.0]
    """
    first = jnp.full(k + 1, -jnp.inf).at[0].set(0.0)

    def step(e, x):
        e = jnp.logaddexp(e, jnp.concatenate([jnp.full(1, -jnp.inf), e[:-1] + x]))
        return e, e

    _, rest = jax.lax.scan(step, first, log_x)
    return jnp.concatenate([first[None], rest])


@functools.partial(jax.jit, static_argnames="k")
def _sample(log_eigenvalues, vectors, k, key):
    m = len(log_eigenvalues)
    which_key, rule_key = jax.random.split(key)
    log_e = log_elementary_symmetric(log_eigenvalues, k)
    chance = jax.random.uniform(which_key, (m,))

    def pick(i, state):
        """From the last eigenvalue down: it is among the j still wanted with probability x_n e_{j-1}(n-1) / e_j(n)."""
        taken, wanted = state
        n = m - i
        log_p = log_eigenvalues[n - 1] + log_e[n - 1, jnp.maximum(wanted - 1, 0)] - log_e[n, wanted]
        take = (wanted > 0) & (jnp.log(chance[n - 1]) < log_p)
        return taken.at[n - 1].set(take), wanted - take.astype(wanted.dtype)

    taken, _ = jax.lax.fori_loop(0, m, pick, (jnp.zeros(m, bool), jnp.asarray(k, jnp.int32)))
    # the chosen eigenvectors first; the others are never looked at
    basis_MK = vectors[:, jnp.argsort(~taken, stable=True)[:k]]

    def draw(i, state):
        """A rule in proportion to its squared length in the space still left, which then loses that direction."""
        left_MK, chosen_K = state
        squared = (left_MK * left_MK).sum(1)
        free = ~(jnp.arange(m)[:, None] == jnp.where(jnp.arange(k) < i, chosen_K, -1)[None]).any(1)
        log_p = jnp.where(free, jnp.log(jnp.maximum(squared, 1e-30)), -jnp.inf)
        rule = jax.random.categorical(jax.random.fold_in(rule_key, i), log_p)
        direction = left_MK[rule] / jnp.linalg.norm(left_MK[rule])
        left_MK = left_MK - (left_MK @ direction)[:, None] * direction[None]
        return left_MK, chosen_K.at[i].set(rule.astype(chosen_K.dtype))

    _, chosen = jax.lax.fori_loop(0, k, draw, (basis_MK, jnp.zeros(k, jnp.int32)))
    return jnp.sort(chosen)


def log_det(gram: Float[Array, "M M"], chosen: Int[Array, " K"]) -> Float[Array, ""]:
    """log det(L_S); -inf where the chosen rules are linearly dependent."""
    gram = _checked(gram, 1)
    chosen = np.asarray(numbers(chosen, "chosen", dtype=None))
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not np.isin(chosen, np.arange(len(gram))).all():
        raise InputError(
            "names a rule that is none", where="chosen", fix=f"pass whole numbers from 0 to {len(gram) - 1}"
        )
    sign, value = np.linalg.slogdet(np.asarray(gram, np.float64)[np.ix_(chosen, chosen)])
    return jnp.float32(value if sign > 0 else -np.inf)


def _checked(gram, k) -> jax.Array:
    gram = numbers(gram, "gram", finite=False)
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"is {str(k)[:60]}, no whole number", where="k", fix="say how many rules")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise InputError(f"a Gram matrix of shape {gram.shape}", where="gram", fix="pass [M, M]")
    if not 1 <= k <= len(gram):
        raise InputError(f"{k} of {len(gram)} rules", where="k", fix=f"use 1 to {len(gram)}")
    if not np.isfinite(np.asarray(gram)).all():
        raise InputError("the Gram matrix is not finite", where="gram", fix="mask missing ratings")
    return gram


def _rank(rank: int, k: int) -> InputError:
    return InputError(
        f"the ratings tell only {rank} rules apart, {k} are wanted",
        where="gram",
        fix="choose fewer rules, or rate more responses",
    )
