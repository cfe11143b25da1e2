"""Makes the helpers in tests/goldens importable, and finds the embedded default model."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as GGUF; skips, saying so, where its wheel is not in the cache."""
    from encore_jax.data.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, member, wheel
    from encore_jax.errors import InputError

    try:
        return member(wheel(*SMOLLM2_WHEEL, offline=True), SMOLLM2_GGUF)
    except InputError as error:
        pytest.skip(f"the embedded model is not in the cache: {error}")
