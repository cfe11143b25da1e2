"""The examples in the docstrings of the helpers of these tests."""

import doctest

import pytest

from tests.parallel import cuda_export
from tests.parallel.hlo import cost, text


@pytest.mark.parametrize("module", [cost, text, cuda_export], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
