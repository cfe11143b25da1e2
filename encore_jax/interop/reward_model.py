"""A reward model as users hold it: backbone, rule heads, weights and passport behind two calls."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from encore_jax.composition import compose
from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.sources import locate
from encore_jax.errors import InputError
from encore_jax.interop.huggingface import load_backbone
from encore_jax.interop.passport import Passport
from encore_jax.interop.scorer import Scorer
from encore_jax.interop.sequences import prompt_trees
from encore_jax.interop.tokenizer import load_tokenizer, template_digest
from encore_jax.model.config import DecoderConfig

HEADS, PASSPORT, BACKBONE = "heads.safetensors", "passport.json", "backbone.json"


@dataclasses.dataclass(frozen=True, eq=False)
class RewardModel:
    """K rule heads on a decoder backbone, composed into one reward.

    Attributes:
      cfg, params, tokenizer: the backbone.
      kernel, bias: rule heads, fp32 ``[D, K]`` and ``[K]``.
      passport: what the scores depend on; holds rule names and weights.
      buckets: row lengths in tokens.
    """

    cfg: DecoderConfig
    params: Any
    tokenizer: Any
    kernel: np.ndarray
    bias: np.ndarray
    passport: Passport
    buckets: tuple[int, ...] = (256, 512)

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the K rules, in head order."""
        return self.passport.rules

    @property
    def weights(self) -> np.ndarray:
        """Composition weights ``[K]``."""
        return np.asarray(self.passport.weights, np.float32)

    @functools.cached_property
    def scorer(self) -> Scorer:
        """The model compiled for a few shapes of batches, each when it first comes; on all devices of this process."""
        return Scorer(self)

    def scores(
        self, prompts: Sequence[str | Sequence[Message]], responses: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Per-rule scores of every response: for each prompt an fp32 array ``[n, K]``.

        Prompts and their responses are packed as prefix trees, so a prompt is run once whatever n is.

        Raises:
          InputError: a conversation is longer than the model was trained for; nothing is truncated.
        """
        if len(prompts) != len(responses):
            raise InputError(f"{len(prompts)} prompts and {len(responses)} lists of responses", where="scores")
        parsed = [parse_prompt(p) if isinstance(p, str) else tuple(p) for p in prompts]
        texts = [(prompt, text) for prompt, group in zip(parsed, responses, strict=True) for text in group]
        sequences = self.scorer.tokenize(texts)
        for i, sequence in enumerate(sequences):
            if len(sequence) > max(self.buckets):
                raise InputError(
                    f"{len(sequence)} tokens, more than {max(self.buckets)}", where=f"text {i}", fix="leave it out"
                )
        trees = prompt_trees(texts, sequences, max(self.buckets))
        flat = self.scorer.run(self.scorer.plan(trees), len(texts))
        return np.split(flat, np.cumsum([len(group) for group in responses])[:-1])

    def rewards(self, prompts: Sequence, responses: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Composed rewards ``Σ_k w_k s_k``: for each prompt an fp32 array ``[n]``."""
        return [np.asarray(compose(scores, self.weights)) for scores in self.scores(prompts, responses)]

    def save(self, folder: str | Path, backbone: str) -> None:
        """Writes heads, passport and where the backbone is (`backbone`, a path or uri) into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_heads(folder, self.kernel, self.bias, self.passport, backbone, self.buckets)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, offline: bool = False) -> RewardModel:
        """Loads what `save`, or a run, wrote; the backbone is fetched from where it was.

        Raises:
          InputError: a file is missing or damaged, or the backbone's chat template is another than in training.
        """
        folder = locate(folder)
        try:
            passport = Passport.from_dict(json.loads((folder / PASSPORT).read_text()))
            origin = json.loads((folder / BACKBONE).read_text())
            heads = safetensors.numpy.load_file(folder / HEADS)
        except FileNotFoundError as error:
            raise InputError(
                "is missing", where=str(error.filename), fix="name a saved reward model's folder"
            ) from None
        except (json.JSONDecodeError, SafetensorError, TypeError) as error:
            raise InputError(f"cannot be read: {error}", where=str(folder), fix="save the model again") from None
        path = locate(origin["path"], offline=offline)
        cfg, params, _ = load_backbone(path, jnp.dtype(passport.dtype))
        tokenizer = load_tokenizer(path)
        if template_digest(tokenizer) != passport.template_sha256:
            raise InputError(
                "the chat template is not the one the heads were trained with",
                where=str(path),
                fix="use the original backbone",
            )
        if heads["kernel"].shape != (cfg.width, len(passport.rules)):
            raise InputError(
                f"shape {heads['kernel'].shape}, not ({cfg.width}, {len(passport.rules)})",
                where=f"{folder / HEADS}, tensor 'kernel'",
                fix="heads and backbone must belong together",
            )
        return cls(cfg, params, tokenizer, heads["kernel"], heads["bias"], passport, tuple(origin["buckets"]))


def save_heads(
    folder: Path, kernel: np.ndarray, bias: np.ndarray, passport: Passport, backbone: str, buckets: Sequence[int]
) -> None:
    """Writes the three files of a saved reward model."""
    names = json.dumps(list(passport.rules))
    tensors = {"kernel": np.ascontiguousarray(kernel, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    safetensors.numpy.save_file(tensors, folder / HEADS, metadata={"rules": names})
    (folder / PASSPORT).write_text(json.dumps(passport.to_dict(), indent=1))
    (folder / BACKBONE).write_text(json.dumps({"path": backbone, "buckets": list(buckets)}, indent=1))
