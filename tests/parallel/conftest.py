"""Makes the helpers of the tests importable, and skips what needs the TPU compiler where it is not installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def pytest_configure(config):
    config.addinivalue_line("markers", "aot: needs the TPU compiler (the `aot` extra); run by `make aot`")


@pytest.hookimpl(tryfirst=True)  # before fixtures ask for the compiler
def pytest_runtest_setup(item):
    if item.get_closest_marker("aot") and importlib.util.find_spec("libtpu") is None:
        pytest.skip("the TPU compiler (libtpu) is not installed; pip install 'encore_jax[aot]'")
