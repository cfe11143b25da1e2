"""Strict settings for every test: fake devices, no silent promotion, warnings are errors."""

import os
import signal
import tempfile

os.environ["JAX_PLATFORMS"] = os.environ.get("ENCORE_TEST_PLATFORM", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Most of the tests' time is spent in compiling programs that run once: XLA optimises them little, here and in the
# processes that tests start. The rooms whose results rounding decides turn it on again, and so does `make test-slow`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# And what one process of this run has compiled, the others read: pytest's workers, and the commands that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    PROGRAMS = tempfile.TemporaryDirectory(prefix="encore-programs-", ignore_cleanup_errors=True)  # until pytest ends
    os.environ["JAX_COMPILATION_CACHE_DIR"] = PROGRAMS.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

from pathlib import Path

import jax
import pytest

from tests import no_lapack

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
no_lapack.forbid()
# Whoever is started under nohup, or in the background of a shell, ignores these, and so do the processes it starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIMIZED = {"composition", "evaluate", "parallel", "test_bradley_terry"}
"""Rooms and files whose programs are optimised as a user's are: rounding decides in them, or costs are counted."""


@pytest.fixture(scope="module", autouse=True)
def optimizations(request):
    """XLA's usual optimisations, where `OPTIMIZED` says so; what was compiled otherwise is forgotten."""
    usual = OPTIMIZED & {request.path.stem, *request.path.relative_to(REPOSITORY).parts}
    little = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0" and not usual
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
