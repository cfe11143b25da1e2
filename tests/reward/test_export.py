"""Exported reward models: what is in the folder, and that it loads here bit for bit."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors import HuggingFaceFolder
from encore_jax.checkpoints.safetensors_writer import stored_params, write_tensors
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_json import hf_config
from encore_jax.model.params import declare
from encore_jax.model.rope_scaling import RopeScaling
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.reward.export import export, fold
from encore_jax.reward.padding import exported_tokenizer
from encore_jax.reward.reward_model import RewardModel
from encore_jax.train.sharded import param_shardings
from tests.experiments import tiny_model
from tests.goldens import tiny
from tests.reward import tiny_reward


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_familys_configuration_survives(family):
    cfg = DecoderConfig.from_hf(tiny.config(family))
    assert DecoderConfig.from_hf(json.loads(json.dumps(hf_config(cfg)))) == cfg


def test_what_a_family_cannot_say_is_refused():
    cfg = DecoderConfig.from_hf(tiny.config("llama32"))
    with pytest.raises(InputError, match="Llama of transformers cannot have this windows"):
        hf_config(dataclasses.replace(cfg, windows=(4,) * cfg.layers))
    with pytest.raises(InputError, match="Hugging Face folder"):
        hf_config(dataclasses.replace(cfg, rope=RopeScaling("factors", factors=(1.0,) * (cfg.head_dim // 2))))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_round_trip_is_bit_identical(family, tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone", family)
    back = RewardModel.from_pretrained(export(model, tmp_path / "out"))
    assert back.cfg == model.cfg and back.buckets == model.buckets
    assert equal(back.params, model.params)
    np.testing.assert_array_equal(back.kernel, model.kernel)
    np.testing.assert_array_equal(back.bias, model.bias)
    before, after = model.passport.to_dict(), back.passport.to_dict()
    assert {name for name in before if before[name] != after[name]} == {"model_sha256"}


def test_folded_the_score_is_the_reward_and_nothing_is_lost_from_the_record(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone")
    folder = export(model, tmp_path / "out", folded=True, about={"Results": "None (synthetic)."})
    back = RewardModel.from_pretrained(folder)
    arguments = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)
    for reward, score, own in zip(model.rewards(*arguments), back.scores(*arguments), back.rewards(*arguments),
                                  strict=True):  # fmt: skip
        np.testing.assert_allclose(score[:, 0], reward, atol=1e-5)
        np.testing.assert_array_equal(score[:, 0], own)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"] and config["id2label"] == {"0": "reward"}
    assert config["encore_jax"]["folded"]["rules"] == list(tiny_reward.RULES)
    assert config["encore_jax"]["offset"] == pytest.approx([0.4 * 0.5 - 1.5 * 0.3 + 2.5 * 0.2])
    assert load_file(folder / "model.safetensors")["score.weight"].shape == (1, model.cfg.width)
    card = (folder / "README.md").read_text()
    for said in (*tiny_reward.RULES, "0.5000", "0.9000", "None (synthetic)", "offset", "more than 128 tokens"):
        assert said in card, said
    assert fold(fold(model)).kernel.tolist() == fold(model).kernel.tolist()


def test_shards_and_bf16(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone", "qwen2", dtype="bfloat16")
    folder = export(model, tmp_path / "out", shard_bytes=40_000)
    files = sorted(folder.glob("*.safetensors"))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(files) > 3 and set(index["weight_map"].values()) == {f.name for f in files}
    stored = {name: array for file in files for name, array in load_file(file).items()}
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in stored.values())
    assert stored["model.norm.weight"].dtype == jnp.bfloat16 and stored["score.weight"].dtype == np.float32
    back = RewardModel.from_pretrained(folder)
    assert equal(back.params, model.params) and back.passport.dtype == "bfloat16"


@pytest.mark.parametrize("settings", [MeshSettings(), MeshSettings(data=2, fsdp=2, tensor=2)])
def test_parameters_split_over_devices_are_written_whole(settings, tmp_path):
    family, config = "llama31", tiny.config("llama31")
    folder = tiny.save(tmp_path / "in", family)
    shardings = param_shardings(DecoderConfig.from_hf(config), make_mesh(settings))["backbone"]
    cfg, params, _ = load_backbone(folder, shardings=shardings, lm_head=False)
    (tmp_path / "out").mkdir()
    write_tensors(tmp_path / "out", stored_params(declare(cfg), params, jnp.float32))
    written, expected = HuggingFaceFolder(tmp_path / "out"), tiny.weights(family)
    assert set(written.shapes()) == set(expected) - {"lm_head.weight"}
    for name in written.shapes():
        np.testing.assert_array_equal(written.read(name), expected[name])


def test_writing_holds_one_block_at_a_time(tmp_path, monkeypatch):
    """Blocks of rows of a large matrix, and single layers: never two at once, never a whole stack."""
    monkeypatch.setattr("encore_jax.checkpoints.safetensors_writer.BLOCK_BYTES", 1000)
    model = tiny_reward.reward_model(tmp_path / "backbone")
    (tmp_path / "out").mkdir()
    stored, sizes = stored_params(declare(model.cfg), model.params, jnp.float32), []
    write_tensors(tmp_path / "out", stored, progress=lambda done, total: sizes.append(done))
    steps = np.diff([0, *sizes])
    layer = max(t.size for t in stored if ".layers." in t.name)
    assert max(steps) == layer and sizes[-1] == sum(t.size for t in stored)
    assert (steps == 4 * model.cfg.width * (1000 // (4 * model.cfg.width))).sum() > 50  # the embedding's blocks
    _, params, _ = load_backbone_of(tmp_path, model)
    assert equal(params, model.params)


def load_backbone_of(folder, model):
    (folder / "out" / "config.json").write_text(json.dumps(hf_config(model.cfg)))
    return load_backbone(folder / "out")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone")

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(model, tmp_path / "out", progress=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["backbone"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="out: is in use"):
        export(model, tmp_path / "out")


# Padding and templates


def closing_tokenizer(*more):
    """Conversations end with <|im_end|>, which is the padding token as well."""
    tokenizer = tiny_model.tokenizer()
    tokenizer.chat_template = tiny_model.TEMPLATE.replace("<|im_end|>\n'", "<|im_end|>'")
    if more:
        tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def test_a_padding_token_that_ends_conversations_is_replaced(tmp_path):
    tokenizer = closing_tokenizer("<|other|>", "<|pad|>", "<|reserved_0|>")
    model = tiny_reward.reward_model(tmp_path / "backbone", tokenizer=tokenizer)
    folder = export(model, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    back = RewardModel.from_pretrained(folder)
    assert (
        back.tokenizer.pad_token == "<|pad|>" and config["pad_token_id"] == back.passport.pad_id == len(tokenizer) - 2
    )
    assert model.tokenizer.pad_token == "<|im_end|>"  # the model itself is left alone
    arguments = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)
    np.testing.assert_array_equal(model.scores(*arguments)[0], back.scores(*arguments)[0])


def test_without_a_free_token_it_says_so(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone", tokenizer=closing_tokenizer())
    with pytest.raises(InputError, match="conversations end with the padding token.*pad_token"):
        export(model, tmp_path / "out")


@pytest.mark.parametrize("date", ["date_string", "strftime_now('%d %b %Y')"])
def test_a_date_that_is_pinned_here_is_pinned_in_the_exported_template(date, tmp_path):
    tokenizer = tiny_model.tokenizer()
    tokenizer.chat_template = f"{{{{ {date} }}}}{tiny_model.TEMPLATE}"
    model = tiny_reward.reward_model(tmp_path / "backbone", tokenizer=tokenizer)
    back = RewardModel.from_pretrained(export(model, tmp_path / "out"))
    chat = tiny_reward.CHATS[0]
    assert back.tokenizer.apply_chat_template(chat, tokenize=False).startswith("26 Jul 2024<|im_start|>")
    assert "always 26 Jul 2024" in (tmp_path / "out" / "README.md").read_text()
    arguments = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)
    np.testing.assert_array_equal(model.scores(*arguments)[0], back.scores(*arguments)[0])


# Passports


def test_a_mismatch_is_refused_with_the_difference_or_recorded(tmp_path):
    folder = export(tiny_reward.reward_model(tmp_path / "backbone"), tmp_path / "out")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|>the "))
    with pytest.raises(InputError, match=r"template_sha256: '\w+' in the passport, '\w+' here.*--allow-mismatch"):
        RewardModel.from_pretrained(folder)
    model = RewardModel.from_pretrained(folder, allow_mismatch=True)
    assert [line.split(":")[0] for line in model.passport.mismatch] == ["model_sha256", "template_sha256"]
    again = export(model, tmp_path / "again")
    assert json.loads((again / "passport.json").read_text())["mismatch"] == list(model.passport.mismatch)
    assert "It was exported although it differed" in (again / "README.md").read_text()


def test_another_type_than_the_passports_is_a_mismatch(tmp_path):
    folder = export(tiny_reward.reward_model(tmp_path / "backbone"), tmp_path / "out")
    with pytest.raises(InputError, match="dtype: 'float32' in the passport, 'bfloat16' here"):
        RewardModel.from_pretrained(folder, dtype="bfloat16")
    model = RewardModel.from_pretrained(folder, dtype="bfloat16", allow_mismatch=True)
    assert model.params["embed"].dtype == jnp.bfloat16 and len(model.passport.mismatch) == 1


def test_a_damaged_passport_is_named(tmp_path):
    folder = export(tiny_reward.reward_model(tmp_path / "backbone"), tmp_path / "out")
    (folder / "passport.json").write_text('{"model": 1')
    with pytest.raises(InputError, match=r"passport\.json: is not valid JSON"):
        RewardModel.from_pretrained(folder)
    (folder / "passport.json").write_text("{}")
    with pytest.raises(InputError, match=r"passport\.json: it lacks bos"):
        RewardModel.from_pretrained(folder)


def test_a_saved_model_notices_another_backbone(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone")
    model.save(tmp_path / "saved", str(tmp_path / "backbone"))
    back = RewardModel.from_pretrained(tmp_path / "saved")
    assert equal(back.params, model.params) and not back.passport.mismatch
    tiny_reward.write_backbone(tmp_path / "backbone", "llama32", rms_norm_eps=0.5)
    with pytest.raises(InputError, match="model_sha256"):
        RewardModel.from_pretrained(tmp_path / "saved")
    assert RewardModel.from_pretrained(tmp_path / "saved", allow_mismatch=True).passport.mismatch


@pytest.mark.parametrize("pad_id", [0, 1, 257])
def test_by_transformers_own_convention_the_padding_token_stays_whatever_its_number(pad_id):
    tokenizer = tiny_model.tokenizer()
    passport = types.SimpleNamespace(pooling="hf", pad_id=pad_id)
    made = exported_tokenizer(tokenizer, passport, len(tokenizer))
    assert made.pad_token_id == pad_id and tokenizer.pad_token_id == 257, "the model's own is left alone"
