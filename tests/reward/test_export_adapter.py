"""Adapters that are written here: loaded again they score as the merged model does, offsets and folding included."""

import json

import numpy as np
import pytest
from jax.random import key
from safetensors.numpy import load_file

from encore_jax.model.lora import Lora, init_lora
from encore_jax.reward.export import export_adapter
from encore_jax.reward.passport import model_digest
from encore_jax.reward.reward_checkpoint import adapted_digest
from encore_jax.reward.reward_model import RewardModel
from tests.reward import tiny_reward

ARGUMENTS = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)
LORA = Lora(rank=3, scale=1.5, targets=("q", "o", "down"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its updates, and the same model with the updates added in by NumPy."""
    model = tiny_reward.reward_model(tmp_path_factory.mktemp("made") / "backbone")
    rng = np.random.default_rng(2)
    drawn = {name: 0.3 * rng.standard_normal(x.shape).astype(np.float32)
             for name, x in init_lora(model.cfg, LORA, key(0)).items()}  # fmt: skip
    layers = dict(model.params["layers"])
    for name, axes in (("q", 1), ("o", 1), ("down", 1)):
        a, b = (drawn[f"{name}_lora_{part}"] for part in "ab")
        change = np.stack([np.tensordot(one, other, axes) for one, other in zip(a, b, strict=True)])
        layers[name] = np.asarray(layers[name]) + 1.5 * change
    return model, drawn, RewardModel(**{**vars(model), "params": model.params | {"layers": layers}})


@pytest.mark.parametrize("own_base", [True, False], ids=["base within", "base elsewhere"])
@pytest.mark.parametrize("folded", [False, True])
def test_an_adapter_scores_as_the_merged_model_does(made, folded, own_base, tmp_path):
    model, drawn, whole = made
    base = tmp_path / "backbone"
    tiny_reward.write_backbone(base, "llama32")
    folder = export_adapter(model, LORA, drawn, None if own_base else str(base), tmp_path / "adapter", folded=folded)
    back = RewardModel.from_pretrained(folder)
    rewards = np.concatenate(whole.rewards(*ARGUMENTS))
    expected = rewards[:, None] if folded else np.concatenate(whole.scores(*ARGUMENTS))
    np.testing.assert_allclose(np.concatenate(back.scores(*ARGUMENTS)), expected, atol=2e-5)
    np.testing.assert_allclose(np.concatenate(back.rewards(*ARGUMENTS)), rewards, atol=2e-5)
    offset = np.array([0.4 * 0.5 - 1.5 * 0.3 + 2.5 * 0.2]) if folded else model.bias
    np.testing.assert_allclose(json.loads((folder / "encore_jax.json").read_text())["offset"], offset, rtol=1e-6)
    np.testing.assert_allclose(back.bias, offset, rtol=1e-6)
    assert back.buckets == model.buckets and back.rules == (("reward",) if folded else tiny_reward.RULES)
    assert back.passport.weights == ((1.0,) if folded else (0.5, 0.3, 0.2))
    assert back.passport.entropy == (() if folded else (0.3, 0.6, 0.9))
    assert (folder / "base").is_dir() == own_base and (folder / "README.md").is_file()


def test_the_passport_is_of_the_adapter_and_its_base_together(made, tmp_path):
    model, drawn, _ = made
    folder = export_adapter(model, LORA, drawn, None, tmp_path / "adapter")
    sha256 = json.loads((folder / "passport.json").read_text())["model_sha256"]
    assert sha256 == adapted_digest(model_digest(folder), model_digest(folder / "base"))
    hub = export_adapter(model, LORA, drawn, "org/name@abc", tmp_path / "of the hub")
    sha256 = json.loads((hub / "passport.json").read_text())["model_sha256"]
    assert sha256 == adapted_digest(model_digest(hub), model.passport.model_sha256)


def test_what_peft_reads_of_it(made, tmp_path):
    model, drawn, _ = made
    folder = export_adapter(model, LORA, drawn, "org/name@abc", tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config == {
        "peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "org/name", "revision": "abc", "r": 3,
        "lora_alpha": 4.5, "lora_dropout": 0.0, "target_modules": ["q_proj", "o_proj", "down_proj"],
        "modules_to_save": ["score"], "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
    }  # fmt: skip
    tensors = load_file(folder / "adapter_model.safetensors")
    np.testing.assert_array_equal(tensors.pop("base_model.model.score.weight"), model.kernel.T)
    assert len(tensors) == 3 * 2 * model.cfg.layers and {x.dtype.name for x in tensors.values()} == {"float32"}
    for layer in range(model.cfg.layers):
        stem = f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_"
        np.testing.assert_array_equal(tensors[f"{stem}A.weight"], drawn["down_lora_a"][layer].T)
        np.testing.assert_array_equal(tensors[f"{stem}B.weight"], drawn["down_lora_b"][layer].T)
