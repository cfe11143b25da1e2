"""Loading a backbone from wherever its weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp

from encore_jax.checkpoints.assemble import Extras, Progress
from encore_jax.checkpoints.hf_folder import load_folder, read_config
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig


def load_backbone(
    path: str | Path,
    dtype: Any = jnp.float32,
    shardings: Any = None,
    *,
    lm_head: bool = True,
    progress: Progress | None = None,
) -> tuple[DecoderConfig, dict[str, Any], Extras]:
    """Loads configuration, parameters and extras from a Hugging Face folder or a GGUF file.

    Args:
      path: a folder with ``config.json`` and safetensors, or a ``.gguf`` file.
      dtype: of the parameters.
      shardings: a pytree of ``jax.sharding.Sharding`` like the parameters (see
        ``encore_jax.model.params.logical_axes``); every process then reads only what its devices
        hold. None: everything on the default device.
      lm_head: whether to load an untied LM head at all; training does not need it.
      progress: called with bytes read and bytes to read.

    Raises:
      InputError: neither, or anything wrong inside; the message names file, tensor and fix.
    """
    path = Path(path)
    if path.is_dir():
        return load_folder(path, dtype, shardings, lm_head=lm_head, progress=progress)
    if path.suffix == ".gguf":
        from encore_jax.checkpoints.gguf import load_gguf

        return load_gguf(path, dtype, shardings, lm_head=lm_head, progress=progress)
    raise _neither(path)


def load_config(path: str | Path) -> DecoderConfig:
    """The configuration alone, from the same places.

    Raises:
      InputError: neither, or a model that is not supported.
    """
    path = Path(path)
    if path.is_dir():
        return read_config(path)[0]
    if path.suffix == ".gguf":
        from encore_jax.checkpoints.gguf import config_of
        from encore_jax.checkpoints.gguf_file import GGUFFile

        return config_of(GGUFFile(path))
    raise _neither(path)


def _neither(path: Path) -> InputError:
    return InputError(
        "not a folder and not a .gguf file" if path.exists() else "there is no such folder or file",
        where=str(path),
        fix="give a Hugging Face folder (config.json, *.safetensors) or a .gguf file",
    )
