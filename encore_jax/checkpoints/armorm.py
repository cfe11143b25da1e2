"""ArmoRM (arXiv 2406.12845): nineteen regression heads, and a gate that weighs them by the prompt.

Its published checkpoint has the tensors of `head_shapes` in place of ``score.weight``; what its gate reads is found by
`encore_jax.reward.gate_position`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import jax.numpy as jnp
import numpy as np
from msgspec import Meta

from encore_jax.json_shape import check_shape
from encore_jax.model.gating import Gate

ARCHITECTURE = "LlamaForRewardModelWithGating"
ATTRIBUTES = (
    "helpsteer-helpfulness", "helpsteer-correctness", "helpsteer-coherence", "helpsteer-complexity",
    "helpsteer-verbosity", "ultrafeedback-overall_score", "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness", "ultrafeedback-honesty", "ultrafeedback-helpfulness", "beavertails-is_safe",
    "prometheus-score", "argilla-overall_quality", "argilla-judge_lm", "code-complexity", "code-style",
    "code-explanation", "code-instruction-following", "code-readability",
)  # fmt: skip
"""What the heads of the published model stand for, from its model card."""
REGRESSION, TRANSFORM, SCALE = "regression_layer.weight", "reward_transform_matrix", "gating.logit_scale"


class _Fields(TypedDict, total=False):
    """The fields of its ``config.json`` that describe heads and gate."""

    num_objectives: Annotated[int, Meta(ge=1, le=4096)]
    gating_hidden_dim: Annotated[int, Meta(ge=1, le=2**20)]
    gating_n_hidden: Annotated[int, Meta(ge=0, le=64)]
    gating_temperature: Annotated[float, Meta(ge=1e-6, le=1e6)]


def head_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors beside the backbone's.

    Raises:
      InputError: a field of another type, or beyond all bounds.
    """
    check_shape(dict(config), _Fields, where="config.json", fix="use the model's own config.json")
    rules, width = config.get("num_objectives", len(ATTRIBUTES)), config["hidden_size"]
    units, hidden = config.get("gating_hidden_dim", 1024), config.get("gating_n_hidden", 3)
    shapes = {REGRESSION: (rules, width), TRANSFORM: (rules, rules), SCALE: (1,)}
    sizes = [width, *[units] * hidden, rules]
    for i, (inside, outside) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        shapes |= {f"gating.layers.{i}.weight": (outside, inside), f"gating.layers.{i}.bias": (outside,)}
    return shapes


def gate_of(heads: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> Gate:
    """The gate, from the checkpoint's tensors in fp32."""
    layers = range(sum(name.startswith("gating.layers.") for name in heads) // 2)
    return Gate(
        kernels=tuple(jnp.asarray(heads[f"gating.layers.{i}.weight"].T) for i in layers),
        biases=tuple(jnp.asarray(heads[f"gating.layers.{i}.bias"]) for i in layers),
        temperature=float(config.get("gating_temperature", 10)),
        scale=jnp.asarray(heads[SCALE][0]),
        transform=jnp.asarray(heads[TRANSFORM]),
    )


def head_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the heads: the published ones, or numbers if there are not nineteen."""
    count = config.get("num_objectives", len(ATTRIBUTES))
    return ATTRIBUTES if count == len(ATTRIBUTES) else tuple(f"objective {i}" for i in range(count))
