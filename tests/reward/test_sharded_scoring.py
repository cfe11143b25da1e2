"""A reward model shared by 8 devices: the scores of one device, no device with the whole of it, clear refusals."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from encore_jax.checkpoints import assemble
from encore_jax.data.comparison import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.convention_scores import score_by_convention
from encore_jax.evaluation.conventions import Convention
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import MeshSettings, parse_mesh, scoring_mesh
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from tests.experiments import tiny_model, tiny_reward_model

PROMPTS = ["Hi", "What is a lock?", "Qu'est-ce que c'est?"]
ANSWERS = ["No.", "Sure, take a pick and turn it.", "I cannot help with that; ask a locksmith.", "No."]
TEXTS = [((Message("user", p),), a) for p, a in itertools.product(PROMPTS, ANSWERS)]
MESHES = ("data=2,fsdp=2,tensor=2", "tensor=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model of 8 heads: eight devices can share it."""
    with pytest.MonkeyPatch.context() as patch:
        heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4, "vocab_size": 264}
        for name, value in heads.items():
            patch.setitem(tiny_model.CONFIG, name, value)
        return tiny_reward_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def expected(folder):
    model = RewardModel.from_pretrained(folder)
    return Scorer(model, tokens_per_batch=512, devices=jax.devices()[:1]).run_texts(TEXTS)


@pytest.mark.parametrize("mesh", MESHES)
def test_scores_are_those_of_one_device(mesh, folder, expected):
    model = RewardModel.from_pretrained(folder, mesh=parse_mesh(mesh))
    scorer = Scorer(model, tokens_per_batch=512)
    assert all(shape.rows % np.prod([model.mesh.shape[a] for a in ("data", "fsdp")]) == 0 for shape in scorer.shapes)
    np.testing.assert_allclose(scorer.run_texts(TEXTS), expected, rtol=0, atol=1e-5)


def test_a_model_in_memory_is_shared_out(folder, expected):
    whole = RewardModel.from_pretrained(folder)
    model = dataclasses.replace(whole, mesh=scoring_mesh(MeshSettings(fsdp=1, tensor=8)))
    np.testing.assert_allclose(
        Scorer(model, tokens_per_batch=256).run_texts(TEXTS[:2]), expected[:2], rtol=0, atol=1e-5
    )


def test_no_device_and_no_buffer_of_the_host_ever_holds_a_whole_matrix(folder, monkeypatch):
    """Loading is streamed: what is put on a device is that device's part."""
    most, put = 0, jax.device_put

    def watched(x, *args, **options):
        nonlocal most
        most = max(most, np.size(x)) if isinstance(x, np.ndarray) else most
        return put(x, *args, **options)

    monkeypatch.setattr(assemble.jax, "device_put", watched)
    model = RewardModel.from_pretrained(folder, mesh=MeshSettings(fsdp=2, tensor=4))
    monkeypatch.undo()
    for name in ("q", "o", "up", "down"):
        matrix = model.params["layers"][name]
        assert {shard.data.size for shard in matrix.addressable_shards} == {matrix.size // 8}, name
    embed = model.params["embed"]  # of 264 tokens; a vocabulary that does not divide stays whole along axis tensor
    assert {shard.data.size for shard in embed.addressable_shards} == {embed.size // 8}
    assert 0 < most <= max(leaf.size for leaf in jax.tree.leaves(model.params)) // 8


@pytest.mark.parametrize(
    "mesh, said",
    [
        ("tensor=3", "does not fit 8 devices. Fix: sizes must multiply to the number of devices, 8"),
        ("data=1,fsdp=2,tensor=2", "does not fit 8 devices"),
        ("tensor=8,fsdp=-1,data=-1", "data and fsdp are both -1|fsdp and data are both -1"),
        ("tensor", "'tensor' is no axis with its size. Fix: write e.g. --mesh=tensor=8"),
        ("tensor=0", "tensor is '0'; a size is a whole number from 1, or -1"),
        ("tensor=two", "tensor is 'two'"),
        ("tensor=2,tensor=4", "tensor is given twice"),
        ("model=8", "'model=8' is no axis with its size"),
        ("", "'' is no axis with its size"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_with_what_to_type(mesh, said):
    with pytest.raises(InputError, match=said):
        scoring_mesh(parse_mesh(mesh))


def test_heads_that_the_devices_cannot_share_are_named(tmp_path):
    model = tiny_reward_model.write(tmp_path)  # of two heads, one of keys and values
    said = "mesh: the model's 2 heads do not divide over 8 devices of axis tensor. Fix: use tensor=1 at most, and fsdp"
    with pytest.raises(InputError, match=said):
        RewardModel.from_pretrained(model, mesh=parse_mesh("tensor=8"))
    with pytest.raises(InputError, match="the model's 1 key-value heads do not divide over 2 devices"):
        RewardModel.from_pretrained(model, mesh=parse_mesh("tensor=2"))
    assert DecoderConfig.from_hf(tiny_model.CONFIG).kv_heads == 1


def test_a_benchmark_scores_on_a_mesh_what_it_scores_on_one_device(folder, expected):
    """Features of the frozen backbone too: benchmarks are scored from them."""
    comparisons = [Comparison((Message("user", p),), tuple(ANSWERS), 0) for p in PROMPTS]
    model = RewardModel.from_pretrained(folder, mesh=MeshSettings(data=2, fsdp=2, tensor=2))
    scored = score_by_convention(model, Convention("last"), comparisons, tokens_per_batch=256)
    np.testing.assert_allclose(scored.scores, expected, rtol=0, atol=1e-5)
