"""The same tiny models in transformers; imports torch, so only parity tests and goldens use it."""

from __future__ import annotations

import numpy as np
import torch
import transformers

from tests.goldens import tiny


def model(family: str, labels: int = 0, **changes):
    """A transformers model with the tiny weights: base, or sequence classification."""
    fields = {**tiny.config(family), **changes}
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    if config.model_type == "gemma2":
        config._attn_implementation = "eager"  # others may leave its soft cap out
    state = {name: torch.from_numpy(w) for name, w in tiny.weights(family, labels).items()}
    if labels:
        config.num_labels = labels
        built = transformers.AutoModelForSequenceClassification.from_config(config)
    else:
        built = transformers.AutoModelForCausalLM.from_config(config)
        if config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
    built.load_state_dict(state, strict=True)
    return built.eval()


def hidden(family: str) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states after the final norm, and logits, for ``tiny.tokens``."""
    built = model(family)
    ids = torch.from_numpy(tiny.tokens(family)).long()
    with torch.inference_mode():
        return built.model(ids).last_hidden_state.numpy(), built(ids).logits.numpy()


def scores(family: str, rows: list[list[int]], pad_id: int | None) -> np.ndarray:
    """Classification scores of each row run alone."""
    built = model(family, tiny.LABELS, pad_token_id=pad_id)
    with torch.inference_mode():
        return np.concatenate([built(torch.tensor([row])).logits.numpy() for row in rows])
