"""Makes the helpers of the tests importable, and skips what needs the TPU compiler where it is not installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.hookimpl(tryfirst=True)  # before fixtures ask for the compiler
def pytest_runtest_setup(item):
    if item.get_closest_marker("aot") and importlib.util.find_spec("libtpu") is None:
        pytest.skip("the TPU compiler (libtpu) is not installed; pip install -e '.[aot]'")
