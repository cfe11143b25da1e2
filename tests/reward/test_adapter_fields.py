"""Every field of PEFT's LoraConfig: plain LoRA and rsLoRA load with the right scale, all others are refused by name."""

import json
import logging
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.checkpoints.adapter_config import read_adapter_config
from encore_jax.checkpoints.adapters import AdaptedFolder, base_folder
from encore_jax.errors import InputError
from encore_jax.reward.reward_model import RewardModel
from tests.reward import tiny_reward

Q, DOWN, SCORE = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "score"
# What PEFT 0.21 writes for a plain adapter of a classifier: every field there is.
PLAIN = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "arrow_config": None, "auto_mapping": None, "bias": "none",
    "corda_config": None, "ensure_weight_tying": False, "eva_config": None, "exclude_modules": None,
    "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "kasa_config": None,
    "layer_replication": None, "layers_pattern": None, "layers_to_transform": None, "loftq_config": {},
    "lora_alpha": 6, "lora_bias": False, "lora_dropout": 0.05, "lora_ga_config": None, "megatron_config": None,
    "megatron_core": "megatron.core", "modules_to_save": ["classifier", "score"], "monteclora_config": None,
    "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
    "revision": None, "target_modules": ["q_proj", "down_proj"], "target_parameters": None, "task_type": "SEQ_CLS",
    "trainable_token_indices": None, "use_bdlora": None, "use_dora": False, "use_qalora": False, "use_rslora": False,
    "velora_config": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base model without a head."""
    folder = tmp_path_factory.mktemp("base") / "lm"
    return tiny_reward.write_backbone(folder, "llama32", architectures=["LlamaForCausalLM"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A base model with a head."""
    folder = tmp_path_factory.mktemp("base") / "classifier"
    tiny_reward.write_backbone(folder, "llama32", architectures=["LlamaForSequenceClassification"], num_labels=1)
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"score.weight": np.ones((1, 64), np.float32)}, folder / "model.safetensors")
    return folder


def write(folder, base, changes=None, tensors=None):
    """An adapter of two matrices and a head; fields and tensors of value `...` are left out."""
    rng, shapes = np.random.default_rng(0), {Q: (96, 64), DOWN: (64, 96)}
    drawn = {"base_model.model.score.weight": rng.standard_normal((1, 64))}
    for module, (out, inside) in shapes.items():
        drawn[f"base_model.model.{module}.lora_A.weight"] = rng.standard_normal((4, inside))
        drawn[f"base_model.model.{module}.lora_B.weight"] = rng.standard_normal((out, 4))
    drawn = {name: array for name, array in (drawn | (tensors or {})).items() if array is not ...}
    fields = {"base_model_name_or_path": str(base)} | PLAIN | (changes or {})
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({name: value for name, value in fields.items() if value is not ...})
    (folder / "adapter_config.json").write_text(content)
    save_file({n: np.asarray(a, np.float32) for n, a in drawn.items()}, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 6 / 4),
        ({"use_rslora": True}, 6 / math.sqrt(4)),
        ({"lora_alpha": 0.5}, 0.5 / 4),
        ({"lora_alpha": 0}, 0.0),
        ({"r": 64, "rank_pattern": {"q_proj": 4, "down_proj": 4}}, 6 / 4),
        ({"init_lora_weights": "gaussian"}, 6 / 4),
        ({"layers_to_transform": [0, 1], "layers_pattern": "layers"}, 6 / 4),
        ({"target_modules": "all-linear"}, 6 / 4),
        ({"target_modules": [Q, DOWN]}, 6 / 4),
        ({"exclude_modules": ["up_proj"], "layers_to_transform": []}, 6 / 4),
        ({"a_field_of_next_year": None, "another": False, "merge_weights": True}, 6 / 4),
        ({"auto_mapping": {"base_model_class": "Llama"}, "use_dora": None, "bias": None, "revision": "main"}, 6 / 4),
        ({"use_dora": ..., "alpha_pattern": ..., "init_lora_weights": ..., "target_modules": ...}, 6 / 4),
    ],
)
def test_plain_lora_loads_with_the_scale_that_its_fields_say(changes, scale, base, tmp_path):
    folder = write(tmp_path / "a", base, changes)
    stored, own = load_file(folder / "adapter_model.safetensors"), load_file(base / "model.safetensors")
    source = AdaptedFolder(folder, base_folder(folder))
    for module in (Q, DOWN):
        b, a = (stored[f"base_model.model.{module}.lora_{part}.weight"] for part in "BA")
        np.testing.assert_allclose(
            source.read(f"{module}.weight"), own[f"{module}.weight"] + scale * (b @ a), atol=1e-5
        )
    np.testing.assert_array_equal(source.read("score.weight"), stored["base_model.model.score.weight"])


def changed_of(field, *values):
    return [({field: value}, field) for value in values]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *changed_of("init_lora_weights", "pissa", "pissa_niter_4", "olora", "loftq", "corda", "eva", "lora_ga",
                    "orthogonal", "mica", "next_year", 1, {}),  # fmt: skip
        *changed_of("use_dora", True, 1, "yes"),
        *changed_of("use_qalora", True),
        *changed_of("alora_invocation_tokens", [1, 2], []),
        *changed_of("alpha_pattern", {"q_proj": 32}, []),
        *changed_of("layer_replication", [[0, 2], [1, 3]]),
        *changed_of("bias", "all", "lora_only"),
        *changed_of("fan_in_fan_out", True),
        *changed_of("lora_bias", True),
        *changed_of("megatron_config", {"hidden_size": 64}, {}),
        *changed_of("trainable_token_indices", [5], {"embed_tokens": [5]}),
        *changed_of("target_parameters", ["experts.gate_up_proj"]),
        *changed_of("loftq_config", {"loftq_bits": 4}),
        *[({f"{name}_config": {}}, f"{name}_config") for name in
          ("eva", "corda", "lora_ga", "velora", "monteclora", "arrow", "kasa")],
        *changed_of("use_bdlora", {"nblocks": 2}),
        *changed_of("ensure_weight_tying", True),
        *changed_of("layers_pattern", "h", ["blocks"]),
        *changed_of("modules_to_save", ["score", "embed_tokens"], ["v_head"]),
        *changed_of("task_type", "TOKEN_CLS", "SEQ_2_SEQ_LM", "QUESTION_ANS", "FEATURE_EXTRACTION", 5),
        *changed_of("peft_type", "IA3", "VERA", "LOHA", "ADALORA", "PROMPT_TUNING", None, ["LORA"], ...),
        *changed_of("r", ..., 0, -4, 4.0, "4", True, None),
        *changed_of("lora_alpha", ..., None, "6", float("nan"), float("inf"), True, 1e40),
        *changed_of("use_rslora", "true", 1),
        *changed_of("rank_pattern", {"q_proj": "4"}, ["q_proj"]),
        *changed_of("target_modules", 5, [5]),
        *changed_of("layers_to_transform", ["0"], 0.5),
        *changed_of("base_model_name_or_path", ..., None, "", 5, ["a"]),
        *changed_of("revision", 5),
        *changed_of("a_field_of_next_year", True, 1, "on", [], {}, {"a": 1}),
    ],
)  # fmt: skip
def test_every_other_kind_of_adapter_is_refused_by_its_field(changes, field, base, tmp_path):
    folder = write(tmp_path / "a", base, changes)
    with pytest.raises(InputError) as caught:
        base_folder(folder)
    text = str(caught.value)
    assert "adapter_config.json" in text and f"'{field}" in text and "\n" not in text and len(text) < 600, text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected `object`, got `array`"),
        ("[" * 10_000, "nested more than"),
        ('{"peft_type": "LORA", "peft_type": "LORA"}', "has the key 'peft_type' twice"),
        ("", "not valid JSON"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(content, message, tmp_path):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_adapter_config(tmp_path)


PREFIX = f"base_model.model.{Q}.lora_"


@pytest.mark.parametrize(
    ("changes", "tensors", "message"),
    [
        ({"r": 64}, {}, r"q_proj.*\(rank 4, not 64\)"),
        ({"r": 64, "rank_pattern": {"q_proj": 8}}, {}, r"\(rank 4, not 8 or 64\)"),
        ({"target_modules": ["down_proj"]}, {}, f"2 not named by adapter_config.json.*{PREFIX}A"),
        ({"exclude_modules": ["q_proj"]}, {}, "2 not named by adapter_config.json.*q_proj"),
        ({"layers_to_transform": [1]}, {}, "2 not named by adapter_config.json.*q_proj"),
        ({"layers_to_transform": 0}, {}, "2 not named by adapter_config.json.*down_proj"),
        ({"init_lora_weights": False}, {}, "[0-9]+ modules that .* have no tensors.*what they began with is not known"),
        ({}, {"base_model.model.score.weight": ...}, "promises a head of its own"),
        ({"modules_to_save": None}, {"base_model.model.score.weight": ...}, "promises a head of its own"),
        ({"task_type": None}, {"base_model.model.score.weight": ...}, "promises a head of its own"),
        ({}, {"base_model.model.score.bias": np.zeros(1)}, "1 unexpected: base_model.model.score.bias"),
        ({}, {f"{PREFIX}magnitude_vector": np.zeros(64)}, "1 unexpected: .*magnitude_vector"),
        ({}, {f"base_model.model.{Q}.lora_diag": np.zeros(4)}, "1 unexpected: .*lora_diag"),
        ({}, {"base_model.model.score.modules_to_save.weight": np.zeros((1, 64))}, "1 unexpected: .*modules_to_save"),
        ({}, {"base_model.model.model.norm.weight": np.zeros(64)}, "1 unexpected: .*norm"),
        ({}, {f"{PREFIX}{name}": np.zeros(4) for name in "CDE"}, "3 unexpected: .*lora_C.*lora_D.*lora_E"),
        ({"r": 64}, {f"{PREFIX}C": np.zeros(4), f"{PREFIX}D": np.zeros(4)}, "2 unexpected: .*; 4 wrong shape"),
        ({}, {f"{PREFIX}B.bias": np.zeros(64)}, r"1 unexpected: .*lora_B\.bias"),
        ({}, {f"{PREFIX}A.weight": np.full((4, 64), np.nan)}, "q_proj.*6144 of 6144 values are NaN"),
        ({}, {"base_model.model.score.weight": np.full((1, 64), np.inf)}, "score.*64 of 64 values are NaN"),
        ({"lora_alpha": 1e30}, {f"{PREFIX}A.weight": np.full((4, 64), 1e30)}, "q_proj.*6144 of 6144 values are NaN"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_tensors_that_the_fields_contradict_are_refused(changes, tensors, message, base, tmp_path):
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(write(tmp_path / "a", base, changes, tensors))


def test_a_module_without_tensors_is_told_and_stays_as_in_the_base(base, tmp_path, caplog):
    folder = write(tmp_path / "a", base, {"target_modules": ["q_proj", "down_proj", "query_key_value"]})
    with caplog.at_level(logging.WARNING):
        source = AdaptedFolder(folder, base)
    assert "modules that adapter_config.json names have no tensors" in caplog.text
    name = "model.layers.1.self_attn.q_proj.weight"
    np.testing.assert_array_equal(source.read(name), load_file(base / "model.safetensors")[name])


@pytest.mark.parametrize("begins", [True, False])
def test_where_no_module_is_named_those_with_tensors_are_adapted_and_no_other_is_missed(begins, base, tmp_path, caplog):
    folder = write(tmp_path / "a", base, {"target_modules": ..., "init_lora_weights": begins})
    with caplog.at_level(logging.WARNING):
        source = AdaptedFolder(folder, base)
    own = load_file(base / "model.safetensors")
    changed = {name for name in own if not np.array_equal(source.read(name), own[name])}
    assert changed == {f"{Q}.weight", f"{DOWN}.weight"} and not caplog.text


def test_the_head_is_the_adapters_or_the_bases_and_never_a_guess(classifier, tmp_path):
    none = {"base_model.model.score.weight": ...}
    plain = {"task_type": "CAUSAL_LM", "modules_to_save": None}
    frozen = AdaptedFolder(write(tmp_path / "frozen", classifier, plain, none), classifier)
    assert frozen.read("score.weight").tolist() == np.ones((1, 64)).tolist()
    own = AdaptedFolder(write(tmp_path / "own", classifier), classifier)
    assert own.read("score.weight").tolist() != frozen.read("score.weight").tolist()
    with pytest.raises(InputError, match="promises a head of its own"):
        AdaptedFolder(write(tmp_path / "lost", classifier, {}, none), classifier)
    with pytest.raises(InputError, match="says which counts"):
        AdaptedFolder(write(tmp_path / "both", classifier, plain), classifier)
    low = {f"base_model.model.score.lora_{part}.weight": np.ones(shape) for part, shape in
           (("A", (4, 64)), ("B", (1, 4)))}  # fmt: skip
    with pytest.raises(InputError, match="2 not named by"):
        AdaptedFolder(write(tmp_path / "twice", classifier, {"target_modules": ["q_proj", "down_proj", "score"]}, low),
                      classifier)  # fmt: skip
    adapted = plain | {"target_modules": ["q_proj", "down_proj", "score"]}
    updated = AdaptedFolder(write(tmp_path / "updated", classifier, adapted, none | low), classifier)
    assert updated.read("score.weight").tolist() == np.full((1, 64), 1 + 6 / 4 * 4).tolist()


def test_the_bases_revision_is_asked_for_or_refused(base, tmp_path):
    folder = write(tmp_path / "a", base, {"revision": "v2"})
    with pytest.raises(InputError, match=r"field 'revision': is 'v2', and .*lm does not say"):
        base_folder(folder)
    snapshot = tmp_path / "models--org--lm" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(base)
    commit = {"revision": "lm"}  # what the link leads to is called so
    assert base_folder(write(tmp_path / "b", snapshot, commit)) == snapshot


def test_the_hub_is_asked_for_the_named_revision(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **options: asked.append(options) or str(tmp_path))
    base_folder(write(tmp_path / "a", "org/name", {"revision": "v2"}), fetch=True)
    assert (asked[0]["repo_id"], asked[0]["revision"], asked[0]["local_files_only"]) == ("org/name", "v2", False)
    base_folder(write(tmp_path / "b", "org/name"))
    assert (asked[1]["revision"], asked[1]["local_files_only"]) == (None, True)
    with pytest.raises(InputError, match="several revisions: v1, v2"):
        base_folder(write(tmp_path / "c", "hf://org/name@v1", {"revision": "v2"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/name", r"field 'base_model_name_or_path': names 'hf://org/name', which is not on this machine.*--fetch"),
        ("wheel://evil==1.0?sha256=" + "0" * 64, "names 'wheel://evil==1.0.*not on this machine.*--fetch"),
        ("wheel://-rhttp==1?sha256=" + "0" * 64, "not a wheel source"),
        ("https://example.org/model", "unknown source https://"),
        ("file:///etc/passwd", "unknown source file://"),
        ("/no/such/base", "no such file or folder"),
        ("a\0b/c", "not a hub source|control characters"),
        ("../..", "not a hub source"),
        ("org/name@../../x", "is no revision"),
        ("x" * 5000, "is longer than"),
    ],
)
def test_a_base_from_elsewhere_is_never_fetched_unasked(name, message, tmp_path, monkeypatch):
    from encore_jax.data import wheels

    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    folder = write(tmp_path / "a", name)
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=message):
        base_folder(folder)
