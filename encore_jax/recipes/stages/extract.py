"""Features of a run's texts: tokenised, and run through the backbone once.

What is fitted on a frozen backbone reads nothing but these: rule heads, reward heads, a gate, an adapter's head, and
the over-refusal probe. So the model is loaded once in a run, by the stage that calls `extract`.

Letters: T texts, P prompts, Q pairs of the probe, D features.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from encore_jax.checkpoints.huggingface import load_backbone, load_config
from encore_jax.data import Message, locate
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.progress import track
from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.stages.probe import probe_sequences, probe_texts
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.sequences import Text, fits
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import TemplateRefusal, load_tokenizer
from encore_jax.train.features import extract_features

Part = tuple[Sequence[Text], Sequence[np.ndarray | None]]
"""Conversations and their token ids; None where the chat template refuses one."""


class Readable(NamedTuple):
    """Which texts the model can read: bool ``[T]`` each.

    Attributes:
      fits: neither refused nor too long.
      refused: by the chat template.
    """

    fits: np.ndarray
    refused: np.ndarray


class Extracted(NamedTuple):
    """fp32 features of the frozen backbone; NaN where a text is not readable.

    Attributes:
      texts: ``[T, D]``.
      prompts: ``[P, D]``, of each prompt up to where the answer begins.
      probe: ``[2 Q, D]``, of the over-refusal probe's texts.
      readable: of the T texts.
      reward_head: ``[D, L]``, the backbone's own head, L = 0 where it has none.
      counts: of the texts and their tokens.
    """

    texts: np.ndarray
    prompts: np.ndarray
    probe: np.ndarray
    readable: Readable
    reward_head: np.ndarray
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes an array per field, and counts.json."""
        arrays = self._asdict() | self.readable._asdict()
        for name in (*_ARRAYS, *Readable._fields):
            np.save(folder / f"{name}.npy", arrays[name])
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Extracted:
        """What `save` wrote; of features only those rows are read from the disk that somebody takes."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        whole = Readable(*(np.load(folder / f"{name}.npy") for name in Readable._fields))
        return cls(**arrays, readable=whole, counts=json.loads((folder / "counts.json").read_text()))


FEATURES, PROBE_FEATURES = "features", "features of the over-refusal probe"
"""What progress calls the texts' features, and the probe's."""

_ARRAYS = ("texts", "prompts", "probe", "reward_head")


def readable(sequences: Sequence[np.ndarray | None], max_length: int) -> Readable:
    """Which sequences the model can read."""
    whole = [fits(sequence, max_length) for sequence in sequences]
    return Readable(np.array(whole, bool), np.array([sequence is None for sequence in sequences], bool))


def extract(
    model: ModelConfig,
    texts: Sequence[Text],
    name_of: Callable[[int], str],
    cache: Path,
    *,
    prompts: Sequence[tuple[Message, ...]] = (),
    probe: bool = True,
    check: Callable[[Readable], None] = lambda readable: None,
    mesh: MeshSettings | None = None,
) -> Extracted:
    """Loads the model and runs every text once.

    Args:
      model: the backbone.
      texts: distinct conversations.
      name_of: what a text, given its number, is called in messages.
      cache: folder of finished batches, from which a killed run goes on.
      prompts: those whose own features are wanted.
      probe: whether the over-refusal probe is run, too.
      check: called before the model is loaded; raises where there is no use in that.
      mesh: how the devices, of all processes together, share the model; without one the default device has it whole.

    Raises:
      InputError: the template refuses every text, a feature is not finite, or the mesh fits neither devices nor model.
    """
    path, dtype = locate(model.path, offline=True), jnp.dtype(model.dtype)
    tokenizer = load_tokenizer(path)
    sequences, refusals = tokenized(tokenizer, texts, model.pooling, name_of)
    found = readable(sequences, max(model.buckets))
    check(found)
    parts = {
        FEATURES: (texts, sequences),
        "features of prompts": ([(prompt, "") for prompt in prompts], [_prompt_end(tokenizer, p) for p in prompts]),
        PROBE_FEATURES: (probe_texts(), probe_sequences(tokenizer, model.pooling)) if probe else ((), ()),
    }
    from encore_jax.parallel.placement import backbone_shardings

    # XLA's CPU products are quicker from fp32 weights, cast layer by layer; elsewhere they would only cost memory.
    stored = jnp.float32 if jax.default_backend() == "cpu" else dtype
    devices = None if mesh is None else make_mesh(mesh)
    shardings = None if devices is None else backbone_shardings(load_config(path), devices)
    cfg, params, extras = load_backbone(path, stored, shardings, lm_head=False)
    features, counts = features_of(cfg, params, model, parts, cache, devices)
    head = np.zeros((cfg.width, 0)) if extras.score is None else extras.score
    return Extracted(*features, found, np.asarray(head, np.float32), counts | refusals)


def features_of(
    cfg: DecoderConfig,
    params: Any,
    model: ModelConfig,
    parts: Mapping[str, Part],
    cache: Path,
    mesh: Mesh | None = None,
) -> tuple[list[np.ndarray], dict[str, int]]:
    """Features of several lists of texts, each in batches of its own, so that no list changes another's rounding.

    Args:
      cfg, params: the backbone.
      model: what decides on compute type and batches.
      parts: the lists, by what progress calls them.
      cache: folder of finished batches.
      mesh: on which the parameters lie, if they do not lie whole on one device.

    Returns:
      Features ``[N, D]`` of each list; and counts of the first: texts, how many are dropped as too long, tokens.
    """
    features, counts = [], []
    for label, (texts, sequences) in parts.items():
        found, counted = extract_features(
            cfg,
            params,
            texts,
            sequences,
            dtype=jnp.dtype(model.dtype),
            buckets=model.buckets,
            tokens_per_batch=model.tokens_per_batch,
            cache=cache,
            track=functools.partial(track, label=label, size=lambda batch: batch.tokens.size),
            mesh=mesh,
        )
        features.append(found)
        counts.append(counted)
    first = readable(next(iter(parts.values()))[1], max(model.buckets))
    return features, counts[0] | {"dropped": int((~first.fits & ~first.refused).sum())}


def _prompt_end(tokenizer, prompt) -> np.ndarray | None:
    """Token ids up to where the answer begins; None if the chat template refuses the prompt, then its texts as well."""
    try:
        return np.asarray(render(tokenizer, prompt), np.int32)
    except TemplateRefusal:
        return None
