"""Published reward models under their true tensor names and fields: what they score, and what is refused by name."""

import json
import math

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.checkpoints.adapters import AdaptedFolder
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors import HuggingFaceFolder
from encore_jax.errors import InputError
from encore_jax.model.config_json import class_name
from encore_jax.model.decoder import Backbone
from encore_jax.model.heads import rule_scores
from encore_jax.model.pooling import hf_pool_index
from encore_jax.reward.export import export
from encore_jax.reward.gate_position import generation_prompt
from encore_jax.reward.reward_model import RewardModel
from tests.experiments import tiny_model
from tests.goldens import armorm, tiny
from tests.reward import tiny_reward


def classifier(folder, family="llama31", labels=1, **changes):
    """A ...ForSequenceClassification folder with a tokenizer, as Skywork-Reward and FsfairX are published."""
    kind = class_name(tiny.config(family)["model_type"], "ForSequenceClassification")
    named = {"id2label": {str(i): f"LABEL_{i}" for i in range(labels)}, "pad_token_id": 0, "torch_dtype": "bfloat16"}
    named |= {"architectures": [kind], "vocab_size": tiny_model.VOCAB}
    config = tiny.config(family) | named | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tiny_reward.draw(config, labels), folder / "model.safetensors")
    tokenizer = tiny_model.tokenizer()
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", tiny.CLASSIFIED)
def test_classification_scores_equal_the_golden(family, tmp_path):
    """All rows in one batch, as trees of their own."""
    golden = np.load(tiny.FOLDER / "scores.npz")[family]
    cfg, params, extras = load_backbone(tiny.save(tmp_path, family, labels=tiny.LABELS))
    longest = max(map(len, tiny.POOL_ROWS))
    tokens, tree = np.zeros((2, len(tiny.POOL_ROWS), longest), np.int32)
    for i, row in enumerate(tiny.POOL_ROWS):
        tokens[i, : len(row)], tree[i, : len(row)] = row, 1
    position = np.broadcast_to(np.arange(longest, dtype=np.int32), tokens.shape)
    hidden = jax.jit(Backbone(cfg).apply)({"params": params}, tokens, tree, 0 * tree, position)
    ends = np.array([hf_pool_index(row, 0) for row in tiny.POOL_ROWS])
    pooled = hidden[np.arange(len(ends)), ends]
    np.testing.assert_allclose(rule_scores(pooled, extras.score), golden, atol=1e-4)


@pytest.mark.parametrize("family", tiny.CLASSIFIED)
def test_a_published_classifier_is_a_reward_model(family, tmp_path):
    folder = classifier(tmp_path / "rm", family)
    model = RewardModel.from_pretrained(folder)
    assert model.rules == ("reward",) and model.weights.tolist() == [1.0] and model.bias.tolist() == [0.0]
    assert (model.passport.dtype, model.passport.pooling, model.passport.pad_id) == ("bfloat16", "hf", 0)
    assert model.tokenizer.pad_token_id == 0 and max(model.buckets) <= model.cfg.max_positions
    np.testing.assert_array_equal(model.kernel, load_file(folder / "model.safetensors")["score.weight"].T)


def test_several_heads_have_names_and_no_weights_until_someone_says(tmp_path):
    names = {"0": "helpful", "1": "harmless"}
    model = RewardModel.from_pretrained(classifier(tmp_path / "rm", labels=2, id2label=names), dtype="float32")
    assert model.rules == ("helpful", "harmless")
    with pytest.raises(InputError, match="2 heads and 0 weights"):
        model.rewards(["Hi"], [["Hello"]])
    weighted = model.weighted({"harmless": 0.75, "helpful": 0.25})
    scores = model.scores(["Hi"], [["Hello", "Go away"]])[0]
    np.testing.assert_allclose(weighted.rewards(["Hi"], [["Hello", "Go away"]])[0], scores @ [0.25, 0.75], atol=1e-6)


def changed(folder, change):
    stored = load_file(folder / "model.safetensors")
    change(stored)
    save_file(stored, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("score.weight"), r"1 missing: score\.weight \(1, 64\)"),
        (lambda t: t.update({"score.weight": np.zeros((2, 64), np.float32)}), r"score\.weight is \(2, 64\), expected"),
        (
            lambda t: t.update({"v_head.summary.weight": np.zeros((1, 64), np.float32)}),
            "unexpected: v_head.summary.weight",
        ),
        (lambda t: t.update({"score.bias": np.zeros(1, np.float32)}), r"unexpected: score\.bias"),
        (lambda t: t.update({"score.weight": np.zeros((1, 64), np.int64)}), r"tensor 'score\.weight': type I64"),
    ],
)
def test_heads_are_never_made_up(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(changed(classifier(tmp_path / "rm"), change))


def test_a_model_without_heads_is_none(tmp_path):
    folder = tiny_reward.write_backbone(tmp_path / "lm", "llama32", architectures=["LlamaForCausalLM"])
    with pytest.raises(InputError, match=r"no tensor 'score\.weight': LlamaForCausalLM is no reward model"):
        RewardModel.from_pretrained(folder)


def test_a_place_without_a_model_is_told_from_one_with(tmp_path):
    """The folder of a run, a GGUF file and an empty folder: each says what to name instead."""
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"weights.gguf: is a file.*without heads"):
        RewardModel.from_pretrained(tmp_path / "weights.gguf")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(InputError, match="no reward model is here: neither backbone.json, nor"):
        RewardModel.from_pretrained(run)
    (run / "config.json").write_text('{"name": "quickstart"}')
    (run / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"Fix: encore export --workdir"):
        RewardModel.from_pretrained(run)
    tiny_reward.reward_model(tmp_path / "backbone").save(run / "compose", str(tmp_path / "backbone"))
    with pytest.raises(InputError, match=r"Fix: name .*run/compose"):
        RewardModel.from_pretrained(run)
    assert RewardModel.from_pretrained(run / "compose").rules == tiny_reward.RULES


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "internlm2"}, r"rm/config\.json, field 'model_type': 'internlm2' is not.*'llama', 'mistral'"),
        ({"quantization_config": {"bits": 4}}, r"rm/config\.json, field 'quantization_config'.*use a model without it"),
        ({"rope_scaling": {"rope_type": "longrope"}}, r"rm/config\.json, field 'rope_scaling': 'longrope'.*'yarn'"),
        ({"head_dim": 7}, r"rm/config\.json, head_dim: 7 is odd"),
        ({"rms_norm_eps": "0"}, r"rm/config\.json: field 'rms_norm_eps': expected `float \| null`, got `str`"),
        ({"id2label": {"x": "a"}}, r"rm/config\.json: field 'id2label': a key: expected `str` matching regex"),
        ({"architectures": "LlamaForSequenceClassification"}, r"rm/config\.json: field 'architectures': expected"),
        ({"architectures": [3]}, r"rm/config\.json: field 'architectures\[0\]': expected `str`"),
        ({"id2label": ["a"]}, r"rm/config\.json: field 'id2label': expected"),
        ({"id2label": {"0": 5}}, r"rm/config\.json: field 'id2label\[...\]': expected `str`"),
        ({"num_labels": 0, "id2label": None}, r"rm/config\.json: field 'num_labels': expected `int` >= 1"),
        ({"num_labels": 10**9, "id2label": None}, r"rm/config\.json: field 'num_labels'"),
        ({"pad_token_id": -2}, r"rm/config\.json: field 'pad_token_id': expected `int` >= -1"),
        ({"pad_token_id": [5]}, r"rm/config\.json: field 'pad_token_id'"),
        ({"pad_token_id": 1.0}, r"rm/config\.json: field 'pad_token_id'"),
        ({"pad_token_id": True}, r"rm/config\.json: field 'pad_token_id'"),
        ({"pad_token_id": 99999}, r"rm/config\.json: field 'pad_token_id' is 99999"),
        ({"torch_dtype": 16}, r"rm/config\.json: field 'torch_dtype'"),
        ({"encore_jax": []}, r"rm/config\.json, field 'encore_jax': expected `object`, got `array`"),
        ({"encore_jax": {"buckets": [64]}}, r"field 'encore_jax': object missing required field `offset`"),
        ({"encore_jax": {"offset": [0.5]}}, r"field 'encore_jax': object missing required field `buckets`"),
        ({"encore_jax": {"offset": ["a"], "buckets": [64]}}, r"'encore_jax': field 'offset\[0\]': expected `float`"),
        ({"encore_jax": {"offset": [float("nan")], "buckets": [64]}}, r"'encore_jax': field 'offset\[0\]'"),
        ({"encore_jax": {"offset": [1e39], "buckets": [64]}}, r"'encore_jax': field 'offset\[0\]'"),
        ({"encore_jax": {"offset": [0.5], "buckets": [-1]}}, r"'encore_jax': field 'buckets\[0\]'"),
        ({"encore_jax": {"offset": [0.5], "buckets": []}}, r"'encore_jax': field 'buckets'"),
        ({"encore_jax": {"offset": [0.5], "buckets": [64, 32]}}, r"'buckets': \[64, 32\] do not increase"),
        ({"encore_jax": {"offset": [0.5, 1], "buckets": [64]}}, r"1 heads, 1 names and 2 offsets"),
    ],
)
def test_a_kind_of_model_that_is_not_computed_here_is_refused_by_field(fields, message, tmp_path):
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(classifier(tmp_path / "rm", **fields))


def test_labels_name_every_head_once_and_from_0(tmp_path):
    for i, names in enumerate(({"1": "a", "2": "b"}, {"0": "a", "1": "a"}, {"0": "a", "01": "b"})):
        with pytest.raises(InputError, match="field 'id2label': does not give each of 0 to 1 a name of its own"):
            RewardModel.from_pretrained(classifier(tmp_path / str(i), labels=2, id2label=names))


@pytest.mark.parametrize(("pad", "pooling"), [(-1, "last"), (None, "last"), (0, "hf"), (257, "hf")])
def test_a_padding_token_of_minus_1_is_none(pad, pooling, tmp_path):
    """As early Llama configurations have it, and transformers reads them."""
    passport = RewardModel.from_pretrained(classifier(tmp_path / "rm", pad_token_id=pad)).passport
    assert (passport.pad_id, passport.pooling) == (-1 if pad is None else pad, pooling)


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight",
                                  "score.weight"])  # fmt: skip
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_one_weight_that_is_no_number_is_found_wherever_it_is(name, value, tmp_path):
    def change(stored):
        stored[name].reshape(-1)[-1] = value

    with pytest.raises(InputError, match=rf"tensor '{name}': 1 of \d+ values are NaN or infinite"):
        RewardModel.from_pretrained(changed(classifier(tmp_path / "rm"), change))


def test_an_export_without_its_offsets_is_refused(tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone")
    folder = export(model, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    del config["encore_jax"]
    (folder / "config.json").write_text(json.dumps(config))
    for allow in (False, True):
        with pytest.raises(InputError, match="field 'encore_jax': is missing, and with it the heads' offsets"):
            RewardModel.from_pretrained(folder, allow_mismatch=allow)


def test_a_classifier_loads_in_the_type_asked_for(tmp_path):
    folder = classifier(tmp_path / "rm")
    for dtype in ("float32", "bfloat16", "float16"):
        model = RewardModel.from_pretrained(folder, dtype=dtype)
        assert model.passport.dtype == dtype == model.params["embed"].dtype.name and not model.passport.mismatch
    assert RewardModel.from_pretrained(classifier(tmp_path / "t", torch_dtype="torch.bfloat16")).passport.dtype == (
        "bfloat16"
    )


# ArmoRM


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_objectives": "19"}, "field 'num_objectives': expected `int`, got `str`"),
        ({"num_objectives": 10**9}, "field 'num_objectives'"),
        ({"gating_n_hidden": 10**9}, "field 'gating_n_hidden'"),
        ({"gating_n_hidden": -1}, "field 'gating_n_hidden'"),
        ({"gating_hidden_dim": None}, "field 'gating_hidden_dim'"),
        ({"gating_temperature": 0}, "field 'gating_temperature'"),
        ({"gating_temperature": float("nan")}, "field 'gating_temperature'"),
    ],
)
def test_armorms_fields_are_checked_by_name(fields, message, tmp_path):
    folder = armorm.save(tmp_path / "rm")
    (folder / "config.json").write_text(json.dumps(armorm.CONFIG | fields))
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(folder)


def test_armorms_gate_holds_numbers(tmp_path):
    drawn = armorm.weights()
    drawn["gating.layers.1.bias"][3] = np.nan
    with pytest.raises(InputError, match=r"tensor 'gating\.layers\.1\.bias': 1 of 12 values are NaN"):
        RewardModel.from_pretrained(armorm.save(tmp_path / "rm", drawn))


def test_armorm_equals_the_reference(tmp_path):
    golden = np.load(tiny.FOLDER / "armorm.npz")
    model = RewardModel.from_pretrained(armorm.save(tmp_path / "rm"))
    assert len(model.rules) == 19 and model.rules[10] == "beavertails-is_safe"
    assert list(generation_prompt(model.tokenizer)) == armorm.pattern()
    scores, rewards = (np.concatenate(f(armorm.PROMPTS, armorm.RESPONSES)) for f in (model.scores, model.rewards))
    np.testing.assert_allclose(scores, golden["heads"], atol=1e-4)
    np.testing.assert_allclose(rewards, golden["reward"], atol=1e-4)
    assert np.ptp(golden["gate"], axis=0).max() > 0.01  # the prompts' gates differ, so a fixed one would not pass


def test_armorms_weights_have_no_fixed_value(tmp_path):
    model = RewardModel.from_pretrained(armorm.save(tmp_path / "rm"))
    with pytest.raises(InputError, match="depend on the prompt"):
        _ = model.weights
    with pytest.raises(InputError, match="depend on the prompt"):
        export(model, tmp_path / "out")


def test_armorms_tensors_are_checked_by_name(tmp_path):
    drawn = armorm.weights()
    del drawn["gating.layers.2.bias"]
    drawn["regression_layer.weight"] = drawn["regression_layer.weight"][:18]
    with pytest.raises(InputError) as caught:
        RewardModel.from_pretrained(armorm.save(tmp_path / "rm", drawn))
    assert "1 missing: gating.layers.2.bias (12,)" in str(caught.value)
    assert "regression_layer.weight is (18, 64), expected (19, 64)" in str(caught.value)


# PEFT adapters


def adapter(folder, base, change=lambda tensors: None, **fields):
    """An adapter of two matrices and the head, as PEFT 0.21 names them."""
    rng, prefix = np.random.default_rng(0), "base_model.model.model.layers."
    shapes = HuggingFaceFolder(base).shapes()
    tensors = {"base_model.model.score.weight": rng.standard_normal((1, 64)).astype(np.float32)}
    for name in ("0.self_attn.q_proj", "1.mlp.down_proj"):
        out, inside = shapes[f"model.layers.{name}.weight"]
        tensors[f"{prefix}{name}.lora_A.weight"] = rng.standard_normal((4, inside)).astype(np.float32)
        tensors[f"{prefix}{name}.lora_B.weight"] = rng.standard_normal((out, 4)).astype(np.float32)
    change(tensors)
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 4, "lora_alpha": 6, "bias": "none",
              "base_model_name_or_path": str(base), "modules_to_save": ["classifier", "score"]} | fields  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6 / 4), (True, 6 / math.sqrt(4))])
def test_an_adapter_is_added_into_its_base(rslora, scale, tmp_path):
    base = tiny_reward.write_backbone(tmp_path / "base", "llama32", architectures=["LlamaForCausalLM"])
    folder = adapter(tmp_path / "adapter", base, use_rslora=rslora)
    model = RewardModel.from_pretrained(folder)
    stored = load_file(folder / "adapter_model.safetensors")
    own, q = load_file(base / "model.safetensors"), "model.layers.0.self_attn.q_proj"
    low = stored[f"base_model.model.{q}.lora_B.weight"] @ stored[f"base_model.model.{q}.lora_A.weight"]
    expected = own[f"{q}.weight"] + np.float32(scale) * low
    np.testing.assert_allclose(model.params["layers"]["q"][0].reshape(64, -1).T, expected, atol=1e-6)
    np.testing.assert_array_equal(model.params["layers"]["k"][0].reshape(64, -1).T,
                                  own["model.layers.0.self_attn.k_proj.weight"])  # fmt: skip
    np.testing.assert_array_equal(model.kernel, stored["base_model.model.score.weight"].T)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("layers.0.self_attn.q_proj.lora_B.weight", None, "half missing: .*q_proj.lora_A"),
        ("embed_tokens.lora_embedding_A", (4, 9), "1 unexpected: .*lora_embedding_A"),
        ("layers.9.mlp.up_proj.lora_A.weight", (4, 64), "1 unexpected: .*layers.9"),
        ("layers.1.mlp.down_proj.lora_A.weight", (4, 7), r"wrong shape.*down_proj.lora_A.weight \(A \(4, 7\)"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_with_names(name, shape, message, tmp_path):
    def change(tensors):
        tensors.pop(f"base_model.model.model.{name}", None)
        if shape:
            tensors[f"base_model.model.model.{name}"] = np.zeros(shape, np.float32)

    base = tiny_reward.write_backbone(tmp_path / "base", "llama32")
    with pytest.raises(InputError, match=message):
        AdaptedFolder(adapter(tmp_path / "adapter", base, change), base)


def test_pickled_adapters_and_lost_bases_are_refused(tmp_path):
    base = tiny_reward.write_backbone(tmp_path / "base", "llama32")
    folder = adapter(tmp_path / "adapter", base)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match="only a pickle, which can run code.*safe_serialization"):
        AdaptedFolder(folder, base)
    with pytest.raises(InputError, match="no such file or folder"):
        RewardModel.from_pretrained(adapter(tmp_path / "lost", base, base_model_name_or_path=str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match=r"field 'base_model_name_or_path'"):
        RewardModel.from_pretrained(adapter(tmp_path / "none", base, base_model_name_or_path=None))


def test_a_truncated_adapter_names_the_tensor(tmp_path):
    base = tiny_reward.write_backbone(tmp_path / "base", "llama32")
    path = adapter(tmp_path / "adapter", base) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors, tensor '.*': the file is truncated"):
        AdaptedFolder(tmp_path / "adapter", base)
