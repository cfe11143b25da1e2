"""Checkpoints of models that read pictures too: their text part is the model of text alone, whatever it is called."""

import json
import logging

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.checkpoints.adapters import AdaptedFolder
from encore_jax.checkpoints.hf_folder import load_tensors, read_config
from encore_jax.checkpoints.huggingface import load_backbone, load_config
from encore_jax.errors import InputError
from encore_jax.reward.reward_model import RewardModel
from encore_jax.text.tokenizer_files import embedding_rows
from tests.goldens import tiny

SPELLINGS = ("language_model.model.", "model.language_model.", "language_model.")
"""As transformers up to 4.51, since then, and of a model saved without its head."""
VISION = {"vision_tower.post_layernorm.weight": (8,), "multi_modal_projector.mm_input_projection_weight": (8, 64)}


def save(folder, spelling, extra=None, labels=0):
    """The tiny Gemma 3 as the text part of a model with a tower."""
    text = tiny.config("gemma3")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text,
              "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name.replace("model.", spelling, 1) if name.startswith("model.") else name: array
               for name, array in tiny.weights("gemma3", labels).items()}  # fmt: skip
    prefix = "model." if spelling.startswith("model.") else ""
    tensors |= {prefix + name: np.ones(shape, np.float32) for name, shape in VISION.items()} | (extra or {})
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_text_part_is_read_and_the_rest_is_counted(spelling, tmp_path, caplog):
    expected_cfg, expected, _ = load_backbone(tiny.save(tmp_path / "text", "gemma3"))
    with caplog.at_level(logging.WARNING):
        folder = save(tmp_path / "both", spelling)
        cfg, params, extras = load_backbone(folder)
    assert cfg == expected_cfg == load_config(folder) and extras.lm_head is None
    for name, array in expected["layers"].items():
        np.testing.assert_array_equal(params["layers"][name], array)
    assert "left out: multi_modal_projector 1, vision_tower 1" in caplog.text
    assert embedding_rows(folder) == cfg.vocab_size


def test_a_classifier_on_such_a_model_keeps_its_score(tmp_path):
    _, _, extras = load_backbone(save(tmp_path, SPELLINGS[1], labels=2))
    np.testing.assert_array_equal(extras.score, tiny.weights("gemma3", 2)["score.weight"].T)


def test_a_tensor_of_neither_part_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"1 unexpected: audio_tower\.x"):
        load_backbone(save(tmp_path / "a", SPELLINGS[0], {"audio_tower.x": np.ones(2, np.float32)}))
    twice = {"model.language_model.norm.weight": np.ones(64, np.float32)}
    with pytest.raises(InputError, match="the same tensor of the text part"):
        load_backbone(save(tmp_path / "b", SPELLINGS[0], twice))
    with pytest.raises(InputError, match="Gemma3ForConditionalGeneration is no reward model"):
        RewardModel.from_pretrained(save(tmp_path / "c", SPELLINGS[0]))


@pytest.mark.parametrize("spelling", SPELLINGS[:2])
def test_an_adapter_of_such_a_model_is_added_into_its_text_part(spelling, tmp_path):
    base = save(tmp_path / "base", spelling)
    module, rng = "model.language_model.layers.1.self_attn.q_proj", np.random.default_rng(0)
    stem = f"base_model.model.{module}.lora_"
    tensors = {f"{stem}A.weight": rng.standard_normal((2, 64)).astype(np.float32),
               f"{stem}B.weight": rng.standard_normal((96, 2)).astype(np.float32)}  # fmt: skip
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    fields = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 2, "lora_alpha": 4,
              "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    cfg, config = read_config(base)
    _, params, _ = load_tensors(AdaptedFolder(folder, base), cfg, config, np.float32)
    stored = load_file(folder / "adapter_model.safetensors")
    own = tiny.weights("gemma3")["model.layers.1.self_attn.q_proj.weight"]
    expected = own + 2 * stored[f"{stem}B.weight"] @ stored[f"{stem}A.weight"]
    np.testing.assert_allclose(params["layers"]["q"][1].reshape(64, -1).T, expected, atol=1e-5)
