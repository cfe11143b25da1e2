"""The kernels, forward and backward, compile for real TPU slices, and what is compiled holds nothing of S x S."""

import importlib.util
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from encore_jax.model.attention import attend
from encore_jax.parallel.mesh import BATCH, LOGICAL_RULES, MeshSettings, make_mesh
from encore_jax.parallel.slices import parse_slice, topology

pytestmark = [
    pytest.mark.aot,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="the TPU compiler (libtpu) is not installed; pip install -e '.[aot]'",
    ),
]
ROWS = 2
KERNELS = ("forward", "backward_queries", "backward_keys")


def compiled(tpu, length, heads, kv_heads, head_dim, dtype=jnp.bfloat16):
    """Attention "auto" and its gradients over four chips: rows over two, heads over two where they divide."""
    tensor = 2 if kv_heads % 2 == 0 else 1
    settings = MeshSettings(data=1, fsdp=4 // tensor, tensor=tensor)
    mesh = make_mesh(settings, topology(parse_slice(tpu)).devices)
    rows = NamedSharding(mesh, PartitionSpec(BATCH))
    split = NamedSharding(mesh, PartitionSpec(BATCH, None, "tensor"))
    shape = (ROWS * settings.fsdp, length)
    q, k, v = (jax.ShapeDtypeStruct((*shape, n, head_dim), dtype, sharding=split) for n in (heads, kv_heads, kv_heads))
    ids = [jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows)] * 3
    window = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec()))

    def loss(*arrays):
        return jnp.sin(attend(*arrays, implementation="auto").astype(jnp.float32)).sum()

    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
        return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, k, v, *ids, window).compile()


@pytest.mark.parametrize(
    ("tpu", "length", "heads", "kv_heads", "head_dim"),
    [
        ("v5e:2x2", 1024, 9, 3, 64),
        ("v6e:2x2", 1024, 8, 2, 128),
        ("v5p:2x2x1", 1024, 8, 2, 128),
        ("v4:2x2x1", 1024, 9, 3, 64),
    ],
)
def test_kernels_compile_and_hold_nothing_of_the_square(tpu, length, heads, kv_heads, head_dim):
    program = compiled(tpu, length, heads, kv_heads, head_dim)
    text = program.as_text()
    for kernel in KERNELS:
        assert re.search(rf"tree_attention_{kernel}\S* = .*custom-call\(", text), kernel
    assert not re.search(rf"\[(\d+,)*{length},{length}[,\]]", text)
    assert program.memory_analysis().temp_size_in_bytes < ROWS * length**2 * 4  # less than one head's scores
