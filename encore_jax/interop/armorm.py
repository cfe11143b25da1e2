"""ArmoRM (arXiv 2406.12845): nineteen regression heads, and a gate that weighs them by the prompt.

Its published checkpoint has the tensors of `head_shapes` in place of ``score.weight``. The gate reads the hidden state
at the first token of the last generation prompt (Llama 3: ``<|start_header_id|>`` of the assistant's header), which
has seen the whole conversation and nothing of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import jax.numpy as jnp
import numpy as np
from msgspec import Meta

from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.errors import InputError
from encore_jax.interop.chat_template import render_texts
from encore_jax.interop.tokenizer import token_ids
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


def generation_prompt(tokenizer) -> tuple[int, ...]:
    """The tokens with which the chat template begins an answer."""
    asked = [{"role": "user", "content": "?"}]
    without, begun = (
        token_ids(tokenizer, render_texts(tokenizer, [asked], generation=begin))[0] for begin in (False, True)
    )
    if begun[: len(without)] != without or len(begun) == len(without):
        raise InputError("the chat template has no generation prompt", where="tokenizer", fix="use the model's own")
    return tuple(begun[len(without) :])


def gate_position(tokens: Sequence[int], pattern: Sequence[int]) -> int:
    """Which token of a conversation the gate reads: the first of the last `pattern`.

    Raises:
      InputError: the pattern is not there.

    >>> gate_position([1, 8, 9, 2, 8, 9, 3], (8, 9))
    4
    """
    tokens, size = np.asarray(tokens, np.int32), len(pattern)
    if len(tokens) >= size:
        windows = np.lib.stride_tricks.sliding_window_view(tokens, size)
        found = np.flatnonzero((windows == np.asarray(pattern)[None]).all(1))
        if found.size:
            return int(found[-1])
    raise InputError(
        "no answer begins in it, so the gate has nothing to read",
        where="conversation",
        fix="render it with the model's own chat template, or send messages",
    )


def gate_places(rows: Sequence[Sequence[PrefixTree]], pattern: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the token that the gate reads for every branch, in the order of `lay_out`.

    It lies in the prefix that the branches share, unless an answer has the pattern in itself.

    >>> tree = PrefixTree(np.array([1, 8, 9]), (np.array([5]), np.array([6, 8, 9, 7])), (0, 1))
    >>> [place.tolist() for place in gate_places([[], [tree]], (8, 9))]
    [[1, 1], [1, 5]]
    """
    places = []
    for row, trees in enumerate(rows):
        start = 0
        for tree in trees:
            shared = len(tree.prefix)
            branch_start = start + shared
            for branch in tree.branches:
                at = gate_position(np.concatenate([tree.prefix, branch]), pattern)
                places.append((row, start + at if at < shared else branch_start + at - shared))
                branch_start += len(branch)
            start = branch_start
    row_column = np.array(places, np.int32).reshape(-1, 2)
    return row_column[:, 0], row_column[:, 1]
