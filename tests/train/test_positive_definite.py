"""Equations with a positive definite matrix against NumPy, at sizes around those of a block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.train.positive_definite import BLOCK, solve_positive


@pytest.mark.parametrize("n", [1, 7, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 5])
def test_solutions_equal_numpys(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n + 40, n))
    matrix, vector = (x.T @ x / n + np.eye(n)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    expected = np.linalg.solve(matrix.astype(np.float64), vector)
    np.testing.assert_allclose(jax.jit(solve_positive)(matrix, vector), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [3, BLOCK + 3])
def test_a_singular_matrix_gives_finite_numbers(n):
    assert np.isfinite(solve_positive(jnp.full((n, n), 2.0), jnp.full(n, 6.0))).all()
