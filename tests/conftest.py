"""Strict settings for every test: fake devices, no silent promotion, warnings are errors."""

import os

os.environ["JAX_PLATFORMS"] = os.environ.get("ENCORE_TEST_PLATFORM", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import jax
import pytest

from tests import no_lapack

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
no_lapack.forbid()

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small hand-written files in each native schema."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real, licensed data kept beside the project; skips, saying so, where it is missing."""
    default = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("ENCORE_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data folder {folder} is missing; set ENCORE_SHARED_DATA to use a copy")
    return folder
