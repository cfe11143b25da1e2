"""The same tiny models in transformers; imports torch, so only parity tests and goldens use it."""

from __future__ import annotations

import numpy as np
import torch
import transformers

from tests.goldens import armorm, tiny


def model(family: str, labels: int = 0, **changes):
    """A transformers model with the tiny weights: base, or sequence classification."""
    fields = {**tiny.config(family), **changes}
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    if "gemma" in config.model_type:
        config._attn_implementation = "eager"  # others may leave its soft cap out
    state = {name: torch.from_numpy(w) for name, w in tiny.weights(family, labels).items()}
    if labels:
        config.num_labels = labels
        built = transformers.AutoModelForSequenceClassification.from_config(config)
    else:
        built = transformers.AutoModelForCausalLM.from_config(config)
        if config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
    built.load_state_dict(_stacked(state), strict=True)
    return built.eval()


def _stacked(state: dict) -> dict:
    """Experts stacked, gate and up in one, as transformers holds them since 5.0; files have each alone."""
    gathered: dict[str, dict[str, list]] = {}
    rest = {}
    for name, tensor in state.items():
        prefix, inside, of = name.partition(".mlp.experts.")
        if inside:
            gathered.setdefault(prefix, {}).setdefault(of.split(".")[1], []).append(tensor)
        else:
            rest[name] = tensor
    for prefix, found in gathered.items():
        gate, up, down = (torch.stack(found[f"{kind}_proj"]) for kind in ("gate", "up", "down"))
        rest |= {
            f"{prefix}.mlp.experts.gate_up_proj": torch.cat([gate, up], 1),
            f"{prefix}.mlp.experts.down_proj": down,
        }
    return rest


def hidden(family: str) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states after the final norm, and logits, for ``tiny.tokens``."""
    built = model(family)
    ids = torch.from_numpy(tiny.tokens(family)).long()
    with torch.inference_mode():
        return built.model(ids).last_hidden_state.numpy(), built(ids).logits.numpy()


def balance(family: str) -> np.ndarray:
    """The load-balancing loss over all of ``tiny.tokens``, and over those that are not padding."""
    built, ids = model(family), torch.from_numpy(tiny.tokens(family)).long()
    mask = torch.ones_like(ids)
    mask[1, -tiny.PADDING :] = 0
    with torch.inference_mode():
        return np.array([built(ids, attention_mask=m, output_router_logits=True).aux_loss for m in (mask | 1, mask)])


def scores(family: str, rows: list[list[int]], pad_id: int | None) -> np.ndarray:
    """Classification scores of each row run alone."""
    built = model(family, tiny.LABELS, pad_token_id=pad_id)
    with torch.inference_mode():
        return np.concatenate([built(torch.tensor([row])).logits.numpy() for row in rows])


def armorm_outputs() -> dict[str, np.ndarray]:
    """Scores of the heads, gate and reward of the tiny ArmoRM, one conversation at a time, as its paper describes."""
    drawn = {name: torch.from_numpy(array) for name, array in armorm.weights().items()}
    fields = {k: v for k, v in armorm.CONFIG.items() if k not in ("model_type", "architectures")}
    backbone = transformers.LlamaModel(transformers.LlamaConfig(**fields)).eval()
    own = {name.removeprefix("model."): w for name, w in drawn.items() if name.startswith("model.")}
    backbone.load_state_dict(own, strict=True)
    start, outputs = armorm.pattern(), []
    for ids in armorm.conversations():
        with torch.inference_mode():
            states = backbone(torch.tensor([ids])).last_hidden_state[0]
            heads = torch.nn.functional.linear(states[-1], drawn["regression_layer.weight"])
            at = max(i for i in range(len(ids)) if ids[i : i + len(start)] == start)
            x = states[at]
            for i in range(armorm.HIDDEN + 1):
                x = torch.nn.functional.linear(x, drawn[f"gating.layers.{i}.weight"], drawn[f"gating.layers.{i}.bias"])
                x = torch.relu(x) if i < armorm.HIDDEN else x
            gate = torch.softmax(x / armorm.TEMPERATURE, 0) * drawn["gating.logit_scale"][0]
            adjusted = heads @ drawn["reward_transform_matrix"]
            outputs.append((heads.numpy(), gate.numpy(), (gate * adjusted).sum().numpy()))
    return dict(zip(("heads", "gate", "reward"), map(np.stack, zip(*outputs, strict=True)), strict=True))
