"""Exported reward models in transformers, PEFT, TRL and RewardBench's logic, live (needs torch)."""

import json

import numpy as np
import pytest

from encore_jax.model.lora import Lora, init_lora, merged
from encore_jax.reward.export import export, export_adapter, write_backbone
from encore_jax.reward.reward_model import RewardModel
from tests.goldens import tiny
from tests.reward import tiny_reward
from tests.reward.test_import import classifier

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
torch = pytest.importorskip("torch")

ARGUMENTS = (tiny_reward.PROMPTS, tiny_reward.RESPONSES)

WITHOUT_CLASSIFIER = ("olmoe", "granite")
"""Families of which transformers has no classifier."""


def in_transformers(folder, chats=tiny_reward.CHATS, model=None):
    """Logits of all conversations in one padded batch, and the configuration."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = model or transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        return model.eval()(**batch).logits.numpy(), model.config


@pytest.mark.parametrize("family", [family for family in tiny.FAMILIES if family not in WITHOUT_CLASSIFIER])
@pytest.mark.parametrize("folded", [False, True])
def test_transformers_gives_our_scores(family, folded, tmp_path):
    model = tiny_reward.reward_model(tmp_path / "backbone", family)
    logits, config = in_transformers(export(model, tmp_path / "out", folded=folded))
    expected = (
        np.concatenate(model.rewards(*ARGUMENTS))[:, None] if folded else np.concatenate(model.scores(*ARGUMENTS))
    )
    np.testing.assert_allclose(logits + config.encore_jax["offset"], expected, atol=1e-4)
    assert tuple(config.id2label.values()) == (("reward",) if folded else tiny_reward.RULES)


@pytest.mark.parametrize("family", WITHOUT_CLASSIFIER)
def test_an_export_without_classifier_is_a_backbone_there(family, tmp_path):
    """The head is one product more."""
    import transformers

    model = tiny_reward.reward_model(tmp_path / "backbone", family)
    folder = export(model, tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    backbone = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    scores = []
    for chat in tiny_reward.CHATS:
        ids = tokenizer(
            tokenizer.apply_chat_template(chat, tokenize=False), return_tensors="pt", add_special_tokens=False
        )
        with torch.inference_mode():
            scores.append(backbone(**ids).last_hidden_state[0, -1].numpy() @ model.kernel + model.bias)
    np.testing.assert_allclose(scores, np.concatenate(model.scores(*ARGUMENTS)), atol=1e-4)


@pytest.mark.parametrize("family", tiny.CLASSIFIED)
def test_published_classifiers_score_as_in_transformers(family, tmp_path):
    folder = classifier(tmp_path / "rm", family, labels=2)
    logits, _ = in_transformers(folder)
    got = RewardModel.from_pretrained(folder, dtype="float32").scores(*ARGUMENTS)
    np.testing.assert_allclose(np.concatenate(got), logits, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "targets", "theirs_of"),
    [("llama32", ("q", "down"), ["v_proj", "gate_proj"]), ("phi3", ("q", "v", "down"), ["qkv_proj", "gate_up_proj"])],
)
def test_an_adapter_goes_both_ways_through_peft(family, targets, theirs_of, tmp_path):
    import peft
    import transformers

    model = tiny_reward.reward_model(tmp_path / "backbone", family)
    lora, rng = Lora(rank=3, scale=1.5, targets=targets), np.random.default_rng(2)
    from jax.random import key

    drawn = {name: 0.3 * rng.standard_normal(x.shape).astype(np.float32)
             for name, x in init_lora(model.cfg, lora, key(0)).items()}  # fmt: skip
    ours = RewardModel(
        **{**vars(model), "params": model.params | {"layers": merged(model.params["layers"], drawn, 1.5)}}
    )
    expected = np.concatenate(ours.scores(*ARGUMENTS))
    folder = export_adapter(model, lora, drawn, None, tmp_path / "adapter")
    loaded = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    logits, _ = in_transformers(folder, model=loaded)
    np.testing.assert_allclose(logits + model.bias, expected, atol=1e-4)
    np.testing.assert_allclose(
        np.concatenate(RewardModel.from_pretrained(folder).scores(*ARGUMENTS)), expected, atol=1e-4
    )

    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "backbone", num_labels=1, pad_token_id=model.tokenizer.pad_token_id
    )
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=6, target_modules=theirs_of,
                               use_rslora=True, init_lora_weights=False)  # fmt: skip
    theirs = peft.get_peft_model(base, settings)
    theirs.save_pretrained(tmp_path / "theirs")
    model.tokenizer.save_pretrained(tmp_path / "theirs")
    logits, _ = in_transformers(tmp_path / "theirs", model=theirs)
    got = RewardModel.from_pretrained(tmp_path / "theirs").scores(*ARGUMENTS)
    np.testing.assert_allclose(np.concatenate(got), logits, atol=1e-4)


def test_armorm_equals_the_reference_live():
    from tests.goldens import torch_models

    golden = np.load(tiny.FOLDER / "armorm.npz")
    for name, array in torch_models.armorm_outputs().items():
        np.testing.assert_allclose(array, golden[name], atol=1e-5)


# SmolLM2, folded, in the tools that it is meant for


@pytest.fixture(scope="module")
def folded(smollm2, tmp_path_factory):
    """The exported folder, and rewards of `tiny_reward.CHATS` before it was exported."""
    import dataclasses

    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.reward.passport import model_digest
    from encore_jax.text.tokenizer import load_tokenizer, template_digest

    small = tiny_reward.reward_model(tmp_path_factory.mktemp("tiny"))
    cfg, params, _ = load_backbone(smollm2)
    tokenizer, rng = load_tokenizer(smollm2), np.random.default_rng(1)
    found = {"model_sha256": model_digest(smollm2), "template_sha256": template_digest(tokenizer)}
    passport = dataclasses.replace(small.passport, pad_id=tokenizer.pad_token_id, **found)
    kernel = 0.05 * rng.standard_normal((cfg.width, 3)).astype(np.float32)
    model = RewardModel(cfg, params, tokenizer, kernel, small.bias, passport, small.buckets)
    folder = export(model, tmp_path_factory.mktemp("export") / "smollm2", folded=True)
    return folder, np.concatenate(model.rewards(*ARGUMENTS))


def offset(folder):
    return json.loads((folder / "config.json").read_text())["encore_jax"]["offset"][0]


def test_smollm2_in_transformers_and_back(folded):
    folder, rewards = folded
    logits, _ = in_transformers(folder)
    np.testing.assert_allclose(logits[:, 0] + offset(folder), rewards, atol=1e-4)
    np.testing.assert_allclose(
        np.concatenate(RewardModel.from_pretrained(folder).rewards(*ARGUMENTS)), rewards, atol=1e-5
    )


def test_smollm2_through_rewardbench(folded):
    """run_rm.py of RewardBench 0.1.4: transformers' pipeline on rendered texts, and a pair counts if strictly above."""
    import transformers

    folder, rewards = folded
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    arguments = {"batch_size": 3, "truncation": True, "padding": True, "max_length": 2048,
                 "function_to_apply": "none", "return_token_type_ids": False}  # fmt: skip
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in tiny_reward.CHATS]
    scores = np.array([result["score"] for result in pipe(texts, **arguments)])
    np.testing.assert_allclose(scores + offset(folder), rewards, atol=1e-4)
    pairs = [(a, b) for a in range(3) for b in range(3)] + [(3, 4), (4, 3)]
    theirs = [1 if scores[a] > scores[b] else 0 for a, b in pairs]
    assert theirs == [int(rewards[a] > rewards[b]) for a, b in pairs]
    assert sum(theirs) == 4  # a text beside itself is not above itself


def test_smollm2_as_a_reward_function_of_trl(folded, tmp_path):
    """TRL's own code loads it by its path, renders, pads and scores."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    folder, rewards = folded
    small = tiny_reward.reward_model(tmp_path / "tiny")
    write_backbone(tmp_path / "policy", small.cfg, small.params, small.tokenizer, np.float32)
    prompts = [chat[:1] for chat in tiny_reward.CHATS]
    settings = GRPOConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, report_to=[], per_device_train_batch_size=5,
                          num_generations=5, bf16=False)  # fmt: skip
    trainer = GRPOTrainer(
        model=str(tmp_path / "policy"), reward_funcs=str(folder), args=settings,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )  # fmt: skip
    inputs = [{"prompt": prompt} for prompt in prompts]
    completions = [chat[1:] for chat in tiny_reward.CHATS]
    found = trainer._calculate_rewards(inputs, prompts, completions, [[0]] * len(prompts))
    np.testing.assert_allclose(found[:, 0].cpu().numpy() + offset(folder), rewards, atol=1e-4)
