"""Strict settings for every test: fake devices, no silent promotion, warnings are errors."""

import os
import signal

os.environ["JAX_PLATFORMS"] = os.environ.get("ENCORE_TEST_PLATFORM", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Most of the tests' time is spent in compiling programs that run once: XLA optimises them little, here and in the
# processes that tests start. Files that need more turn it on again, and `make test-slow` runs the rooms whose results
# rounding decides as a user does.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from tests import program_cache

os.environ.update(program_cache.settings(os.environ))

from pathlib import Path

import hypothesis
import jax
import pytest

from tests import no_lapack, unclosed

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Examples follow from a test's text: what passed here passes wherever the same commit is tested. `make test-slow` looks
# for others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("search", derandomize=False, max_examples=1000, deadline=None)
hypothesis.settings.load_profile("same")
no_lapack.forbid()
unclosed.watch()
# Whoever is started under nohup, or in the background of a shell, ignores these, and so do the processes it starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIMIZED = {"test_bradley_terry"}
"""Files whose programs are optimised as a user's are: rounding decides in them."""


@pytest.fixture(scope="module", autouse=True)
def optimizations(request):
    """XLA's usual optimisations, where `OPTIMIZED` says so; what was compiled otherwise is forgotten."""
    little = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0" and request.path.stem not in OPTIMIZED
    if jax.config.read("jax_disable_most_optimizations") != little:
        jax.config.update("jax_disable_most_optimizations", little)
        jax.clear_caches()


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
