"""Without a GPU, attention and a whole backbone lower for eight of them, forward and backward, as cuDNN's calls."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.model import params as declared
from encore_jax.model.attention import attend
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.parallel.mesh import BATCH, MeshSettings, sharding
from tests.parallel.cuda_export import CUDNN_CALLS, described_gpus, export_for_gpus

MESH = MeshSettings(data=2, fsdp=2, tensor=2)
LENGTH, ROWS = 256, 8


def cudnn_calls(exported):
    return sorted(re.findall(r"stablehlo.custom_call @(__cudnn\S*?)\(", exported.mlir_module()))


def rows_over(mesh):
    return [jax.ShapeDtypeStruct((ROWS, LENGTH), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec(BATCH)))] * 3


def test_attention_becomes_cudnn_calls_on_each_gpus_own_rows_and_heads():
    mesh = described_gpus(MESH, 8)
    where = NamedSharding(mesh, PartitionSpec(BATCH, None, "tensor"))
    q, k, v = (jax.ShapeDtypeStruct((ROWS, LENGTH, n, 64), jnp.bfloat16, sharding=where) for n in (8, 4, 4))

    def loss(q, k, v, *rows):
        return attend(q, k, v, *rows, implementation="cudnn").astype(jnp.float32).sum()

    exported = export_for_gpus(jax.jit(jax.grad(loss, argnums=(0, 1, 2))), mesh, q, k, v, *rows_over(mesh))
    assert exported.nr_devices == 8 and exported.platforms == ("cuda",)
    assert cudnn_calls(exported) == sorted(CUDNN_CALLS)
    [forward] = [line for line in exported.mlir_module().splitlines() if f"@{CUDNN_CALLS[0]}(" in line]
    operands = forward.split(" : (")[1].split(") ->")[0]
    # 8 rows over 4 devices; 8 query and 4 key-value heads over 2, not repeated; the mask is one for all heads
    assert re.findall(r"tensor<([\dx]*)xbf16>", operands) == [
        "2x256x4x64", "2x256x2x64", "2x256x2x64", "2x1x256x256",
    ]  # fmt: skip


@pytest.mark.parametrize(("remat", "forwards"), [("attention", 1), ("full", 2)])
def test_auto_is_cudnn_in_a_scanned_backbone_and_remat_keeps_it(remat, forwards):
    mesh = described_gpus(MESH, 8)
    cfg = DecoderConfig(vocab_size=32, width=32, layers=2, heads=4, kv_heads=2, head_dim=16, mlp_width=32)
    model = Backbone(cfg, jnp.bfloat16, remat=remat, attention="auto")
    params = jax.tree.map(
        lambda x, axes: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(mesh, axes)),
        jax.eval_shape(lambda: declared.init(cfg, jax.random.key(0))),
        declared.logical_axes(cfg),
    )

    def loss(params, *rows):
        return model.apply({"params": params}, rows[0], *rows).astype(jnp.float32).sum()

    exported = export_for_gpus(jax.jit(jax.grad(loss)), mesh, params, *rows_over(mesh))
    assert cudnn_calls(exported) == [CUDNN_CALLS[0]] * forwards + [CUDNN_CALLS[1]]


def test_outside_of_an_export_a_machine_without_cudnn_says_so():
    if jax.default_backend() == "gpu":
        pytest.skip("this machine has a GPU")
    x, row = jnp.zeros((1, 128, 1, 64), jnp.bfloat16), jnp.zeros((1, 128), jnp.int32)
    with pytest.raises(InputError, match="cuDNN.*'auto' or 'xla'"):
        attend(x, x, x, row, row, row, implementation="cudnn")
