"""Equations with a positive definite matrix against NumPy, at sizes around those of a block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.train.positive_definite import BLOCK, solve_positive

solve = jax.jit(solve_positive)
SIZES = [7, BLOCK + 1, 2 * BLOCK]


@pytest.mark.parametrize("n", SIZES)
def test_solutions_equal_numpys(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n + 40, n))
    matrix, vector = (x.T @ x / n + np.eye(n)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    expected = np.linalg.solve(matrix.astype(np.float64), vector)
    np.testing.assert_allclose(solve(matrix, vector), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", SIZES)
def test_a_singular_matrix_gives_finite_numbers(n):
    assert np.isfinite(solve(np.full((n, n), 2, np.float32), np.full(n, 6, np.float32))).all()


def test_a_pivot_that_is_lost_in_rounding_is_raised_to_that_of_the_largest():
    """Of [[4, 2], [2, 1]] the second pivot is 0, and counts as eps · 4; a power of two changes nothing but the unit."""
    eps = np.finfo(np.float32).eps
    for unit in (2.0**-20, 1.0, 2.0**20):
        matrix, vector = np.array([[4, 2], [2, 1]], np.float32) * unit, np.array([0, 1], np.float32) * unit
        np.testing.assert_array_equal(solve(matrix, vector), [-1 / (8 * eps), 1 / (4 * eps)])


@pytest.mark.parametrize("n", SIZES)
def test_the_type_is_that_of_the_equations(n):
    given = jax.ShapeDtypeStruct((n, n), jnp.bfloat16), jax.ShapeDtypeStruct((n,), jnp.bfloat16)
    assert jax.eval_shape(solve_positive, *given) == given[1]
