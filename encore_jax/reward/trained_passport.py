"""The passport of a model that is trained here, from its backbone and tokenizer: written once for every recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encore_jax.reward.passport import Passport
from encore_jax.text.tokenizer import template_digest


def trained_passport(
    backbone: str | Path,
    sha256: str,
    tokenizer: Any,
    rules: Sequence[str],
    *,
    pooling: str,
    dtype: str,
    max_length: int,
    pool_sha256: str,
    data_revision: str,
    **fields: Any,
) -> Passport:
    """What scores of heads on this backbone depend on besides weights.

    Args:
      backbone: path or uri; a revision after "?" is no part of its name.
      sha256: of its files and its tokenizer's, as `encore_jax.reward.passport.model_digest` gives it.
      tokenizer: with the chat template; what it says of padding is kept.
      rules: names of the K heads.
      pooling, dtype, max_length, pool_sha256, data_revision: see `Passport`.
      fields: more of `Passport`: the rule graph, or weights that are known before anything is composed.
    """
    return Passport(
        model=Path(str(backbone).split("?")[0]).name,
        model_sha256=sha256,
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling=pooling,
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=dtype,
        max_length=max_length,
        rules=rules,
        pool_sha256=pool_sha256,
        data_revision=data_revision,
        **fields,
    )
