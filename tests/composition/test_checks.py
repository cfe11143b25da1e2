"""What is no array of numbers is refused in words that say what to pass."""

import numpy as np
import pytest

from encore_jax.composition.checks import numbers
from encore_jax.errors import InputError


@pytest.mark.parametrize(
    ("values", "rank", "problem"),
    [
        (0.5, 1, r"weights: has shape \(\). Fix: pass an array of at least 1 axis$"),
        ([0.5], 2, r"weights: has shape \(1,\). Fix: pass an array of at least 2 axes$"),
        ("abc", 1, "weights: holds <U3, no numbers"),
        ([[1.0], [1.0, 2.0]], 1, "weights: is no array"),
        ([1.0, np.inf], 1, r"weights, at \[1\]"),
    ],
)
def test_it_says_what_to_pass(values, rank, problem):
    with pytest.raises(InputError, match=problem):
        numbers(values, "weights", rank=rank)


def test_numbers_of_every_kind_are_an_array():
    for values in ([1, 2], (1.0, 2.0), np.array([True, False]), np.arange(2, dtype=np.uint8)):
        found = numbers(values, "weights", rank=1)
        assert found.dtype == np.float32 and found.tolist() == [float(x) for x in values]
