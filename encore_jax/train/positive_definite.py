"""Linear equations with a positive definite matrix, by products alone: no call of LAPACK.

XLA's CPU backend hands `jnp.linalg.solve`, `cholesky` and their relatives to LAPACK. Batched calls (whatever is
vmapped) that run side by side in one program wait for each other's threads for ever, so nothing that this library
compiles may contain one. Gauss-Jordan elimination by blocks needs none, vmaps, and is as quick.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BLOCK = 32
"""Columns that are eliminated together by a matrix product."""


def solve_positive(matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
    """Solves ``matrix @ x = vector``; may be jitted, vmapped and differentiated.

    Args:
      matrix: symmetric, positive definite. A pivot that rounding alone could have left is raised to that rounding, as
        in a modified Cholesky factorisation, so a singular matrix gives finite numbers too.
      vector: the right-hand side.

    >>> solve_positive(jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array([3.0, 3.0])).round(3).tolist()
    [1.0, 1.0]
    """
    n, kind = len(matrix), jnp.finfo(matrix.dtype)
    floor = jnp.maximum(kind.eps * jnp.diagonal(matrix).max(), kind.tiny)
    block = 1 if n <= BLOCK else BLOCK
    padding = -n % block  # by rows of the identity matrix, which change nothing
    square = jnp.eye(n + padding, dtype=matrix.dtype).at[:n, :n].set(matrix)
    right = jnp.pad(vector, (0, padding))[:, None]
    return _eliminate(jnp.concatenate([square, right], 1), n + padding, block, floor)[:n].reshape(n)


def _eliminate(rows, n: int, block: int, floor):
    """Gauss-Jordan elimination of ``[A | B]``, `block` columns at a time: returns ``A⁻¹ B``."""

    def step(i, rows):
        start = i * block
        own = jax.lax.dynamic_slice_in_dim(rows, start, block, 0)
        pivot = jax.lax.dynamic_slice_in_dim(own, start, block, 1)
        own = jnp.matmul(_inverse(pivot, floor), own, precision="highest")
        column = jax.lax.dynamic_slice_in_dim(rows, start, block, 1)
        rows = rows - jnp.matmul(column, own, precision="highest")
        return jax.lax.dynamic_update_slice_in_dim(rows, own, start, 0)

    return jax.lax.fori_loop(0, n // block, step, rows)[:, n:]


def _inverse(pivot, floor):
    size = len(pivot)
    if size == 1:
        return 1 / jnp.maximum(pivot, floor)
    return _eliminate(jnp.concatenate([pivot, jnp.eye(size, dtype=pivot.dtype)], 1), size, 1, floor)
