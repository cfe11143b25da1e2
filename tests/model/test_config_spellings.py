"""A field of config.json that has several spellings or places: two that differ are refused, equal ones are read."""

import pytest

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from tests.goldens import tiny

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip


def rope(family, **more):
    return tiny.config(family)["rope_scaling"] | more


CASES = {
    "base inside and beside": (
        "llama31", {"rope_theta": 5e5},
        ({"rope_parameters": LLAMA3 | {"rope_theta": base}} for base in (5e5, 1e4)),
    ),
    "both objects": (
        "llama31", {"rope_scaling": LLAMA3},
        ({"rope_parameters": LLAMA3 | {"factor": factor}} for factor in (8.0, 4.0)),
    ),
    "kind": ("llama31", {}, ({"rope_scaling": LLAMA3 | {"type": kind}} for kind in ("llama3", "linear"))),
    "experts": ("qwen3_moe", {"num_experts": 8}, ({"num_local_experts": count} for count in (8, 3))),
    "share": ("phi3", {}, ({"rope_scaling": rope("phi3", partial_rotary_factor=share)} for share in (0.75, 0.5))),
    "first length": (
        "phi3", {}, ({"rope_scaling": rope("phi3", original_max_position_embeddings=length)} for length in (160, 99)),
    ),
    "base of phi": (
        "phi3", {"rope_theta": 1e4}, ({"rope_scaling": rope("phi3", rope_theta=base)} for base in (1e4, 5e4)),
    ),
    "base of layers with a window": (
        "gemma3", {"rope_scaling": None, "rope_local_base_freq": 1e4},
        ({"rope_parameters": {"sliding_attention": {"rope_theta": base}}} for base in (1e4, 2e4)),
    ),
}  # fmt: skip
"""Family, what one spelling says, and another spelling: first the same, then something else."""


@pytest.mark.parametrize("case", CASES)
def test_two_values_of_one_field_are_refused(case):
    family, one, spellings = CASES[case]
    same, other = spellings
    DecoderConfig.from_hf(tiny.config(family) | one | same)
    with pytest.raises(InputError, match="both say the same thing. Fix: keep the right one"):
        DecoderConfig.from_hf(tiny.config(family) | one | other)


def test_a_share_of_a_multimodal_model_said_twice():
    text = {name: value for name, value in tiny.config("gemma3").items() if name != "model_type"}
    whole = {"model_type": "gemma3", "text_config": text | {"tie_word_embeddings": True}}
    DecoderConfig.from_hf(whole | {"tie_word_embeddings": True})
    with pytest.raises(InputError, match=r"'tie_word_embeddings' is False and 'text_config', 'tie_word_embeddings'"):
        DecoderConfig.from_hf(whole | {"tie_word_embeddings": False})
