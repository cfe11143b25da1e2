"""The very training step on NVIDIA GPUs: lowered for eight of them without any, and run where there is one."""

import jax
import jax.numpy as jnp
import pytest

from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import MeshSettings, make_mesh, replicated
from encore_jax.train.program import make_program
from tests.parallel.cuda_export import CUDNN_CALLS, described_gpus, export_for_gpus
from tests.train import tiny_training as tiny

CFG = DecoderConfig(vocab_size=32, width=32, layers=2, heads=4, kv_heads=2, head_dim=16, mlp_width=32)


@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_the_step_lowers_for_eight_gpus_with_cudnn_attention(trainable):
    mesh = described_gpus(MeshSettings(data=2, fsdp=2, tensor=2), 8)
    settings = tiny.settings(rows=8, length=256, trainable=trainable, remat="full", accumulate=2, tokens_per_end=32)
    program = make_program(CFG, tiny.RULES, settings, mesh, steps=10, dtype="bfloat16")
    weights = jax.ShapeDtypeStruct((tiny.RULES,), jnp.float32, sharding=replicated(mesh))
    exported = export_for_gpus(program.jitted_step, mesh, program.abstract_state, program.abstract_batch, weights)
    text = exported.mlir_module()
    assert exported.nr_devices == 8 and exported.platforms == ("cuda",)
    for call in CUDNN_CALLS:
        assert f"@{call}(" in text
    assert len(exported.out_avals) == len(jax.tree.leaves(program.abstract_state)) + 5  # metrics


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["auto", "xla"])
def test_the_loss_falls_on_a_gpu(attention):
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU is used here; on a machine with one set ENCORE_TEST_PLATFORM=cuda")
    settings = tiny.settings(rows=2, length=256, attention=attention, tokens_per_end=16)
    mesh = make_mesh(MeshSettings(), jax.devices()[:1])
    program = make_program(tiny.CFG, tiny.RULES, settings, mesh, steps=30, dtype="bfloat16")
    state, losses = tiny.start(program), []
    for batch in tiny.batches(settings, epochs=20):
        state, metrics = program.step(state, program.place(batch), tiny.UNIFORM)
        losses.append(float(metrics["loss"]))
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
