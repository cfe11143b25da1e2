"""A fake Google Cloud, and a checkout of its own, for each test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tpu_scripts.fake_cloud import Cloud


@pytest.fixture
def cloud(tmp_path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.close()
