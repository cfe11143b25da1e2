"""The kernels, interpreted on the CPU, against dense attention written here; alone, in a backbone, over devices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, NamedSharding, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.model import params as declared
from encore_jax.model.attention import attend, fastest, platform
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import REMAT, Backbone
from encore_jax.model.tree_attention import tree_attention
from encore_jax.parallel.mesh import BATCH, LOGICAL_RULES, MeshSettings, make_mesh
from tests.model.tree_rows import BLOCK, ROWS, row, visible_pairs


def dense(q, k, v, seen):
    """Plain softmax attention in fp32 with heads repeated; 0 for queries that see nothing."""
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    k, v = (jnp.repeat(x, q.shape[2] // x.shape[2], axis=2) for x in (k, v))
    score = jnp.einsum("bsnh,btnh->bnst", q, k, precision="highest") / np.sqrt(q.shape[-1]).astype(np.float32)
    weight = jnp.where(seen[:, None], jax.nn.softmax(jnp.where(seen[:, None], score, -1e9), axis=-1), 0)
    return jnp.einsum("bnst,btnh->bsnh", weight, v, precision="highest")


def inputs(heads, kv_heads, head_dim, dtype=jnp.float32, rows=ROWS, seed=0):
    """ids_B3S, then q, k, v and a cotangent that is 0 in padding."""
    rng, ids = np.random.default_rng(seed), np.stack(rows)
    shape = (len(ids), ids.shape[-1])
    q, k, v, dout = (rng.standard_normal((*shape, n, head_dim)) for n in (heads, kv_heads, kv_heads, heads))
    dout *= (ids[:, 0] != 0)[..., None, None]
    return ids, [jnp.asarray(x, dtype) for x in (q, k, v, dout)]


@functools.cache
def kernels(windowed, interpret=True):
    """Output and gradients of queries, keys and values, compiled."""

    def run(ids, q, k, v, dout, window):
        def attention(q, k, v):
            window_ = window if windowed else None
            return tree_attention(q, k, v, *jnp.moveaxis(ids, 1, 0), window_, block=BLOCK, interpret=interpret)

        out, pull = jax.vjp(attention, q, k, v)
        return out, *pull(dout)

    return jax.jit(run)


@jax.jit
def reference(seen, q, k, v, dout):
    out, pull = jax.vjp(lambda *qkv: dense(*qkv, seen), q, k, v)
    return out, *pull(dout.astype(out.dtype))


def assert_equal(got, expected, tolerance):
    for what, a, b in zip(("out", "dq", "dk", "dv"), got, expected, strict=True):
        a, b = (np.asarray(x.astype(jnp.float32)) for x in (a, b))
        assert np.isfinite(a).all(), what
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()), err_msg=what)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "dtype", "windows", "tolerance"),
    [
        (4, 2, 64, jnp.float32, (None,), 1e-5),
        (4, 1, 128, jnp.float32, (0, 5, 200), 1e-5),
        (4, 1, 128, jnp.bfloat16, (None,), 2e-2),
    ],
    ids=str,
)
def test_outputs_and_gradients_equal_dense_attention(heads, kv_heads, head_dim, dtype, windows, tolerance):
    ids, arrays = inputs(heads, kv_heads, head_dim, dtype)
    for window in windows:
        got = kernels(window is not None)(ids, *arrays, jnp.int32(window or 0))
        assert all(x.dtype == dtype for x in got)
        assert_equal(got, reference(visible_pairs(ids, window), *arrays), tolerance)


def test_on_a_simulated_tpu_with_two_cores_and_memory_full_of_nan():
    simulated = pltpu.InterpretParams(num_cores_or_threads=2, random_seed=0, uninitialized_memory="nan")
    ids, arrays = inputs(2, 1, 16, rows=[row((60, 60, 50), (0, 30, 20), length=256)])
    got = kernels(False, simulated)(ids, *arrays, jnp.int32(0))
    assert_equal(got, reference(visible_pairs(ids), *arrays), 1e-5)


def test_padding_neither_gives_nor_takes_whatever_it_holds():
    ids, arrays = inputs(4, 2, 64)
    padding = (ids[:, 0] == 0)[..., None, None]
    clean = kernels(False)(ids, *arrays, jnp.int32(0))
    dirty = kernels(False)(ids, *(jnp.where(padding, np.nan, x) for x in arrays), jnp.int32(0))
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (np.asarray(a)[np.broadcast_to(padding, a.shape)] == 0).all()


def test_skipped_blocks_are_not_read():
    ids, arrays = inputs(4, 2, 64, rows=[ROWS[0]] * 4)
    q, k, v, dout = arrays
    clean = kernels(False)(ids, q, k, v, dout, jnp.int32(0))
    dirty = kernels(False)(ids, q, k.at[:, 128:256].set(np.nan), v.at[:, 128:256].set(np.nan), dout, jnp.int32(0))
    np.testing.assert_array_equal(clean[0][:, 256:], dirty[0][:, 256:])
    np.testing.assert_array_equal(clean[1][:, 256:], dirty[1][:, 256:])
    assert np.isnan(dirty[0][:, 128:256]).all()


# Within the model, over devices


CFG = DecoderConfig(vocab_size=32, width=32, layers=2, heads=4, kv_heads=2, head_dim=16, mlp_width=32, windows=(0, 40))


@functools.cache
def tokens_and_params():
    rng = np.random.default_rng(0)
    ids = np.stack([row((30, 70, 28), (50, 60), length=256), row((100, 100), length=256)] * 2)
    tokens = rng.integers(0, CFG.vocab_size, (4, 256)).astype(np.int32)
    return (tokens, *np.moveaxis(ids, 1, 0)), declared.init(CFG, jax.random.key(0))


def backbone_gradient(attention, remat="none"):
    """A loss over real tokens and its gradient, as a function of parameters and rows."""

    def loss(params, *rows):
        hidden = Backbone(CFG, remat=remat, attention=attention).apply({"params": params}, *rows)
        return jnp.where((rows[1] != 0)[..., None], jnp.sin(hidden), 0).sum()

    return jax.jit(jax.value_and_grad(loss))


@functools.cache
def with_xla():
    rows, params = tokens_and_params()
    return jax.device_get(backbone_gradient("xla")(params, *rows))


def assert_same_step(got):
    loss, grads = with_xla()
    np.testing.assert_allclose(got[0], loss, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.slow
def test_a_backbone_with_kernels_equals_one_without():
    rows, params = tokens_and_params()
    assert_same_step(backbone_gradient("pallas_interpret", "attention")(params, *rows))


def test_eight_devices_equal_one():
    rows, params = tokens_and_params()
    mesh = make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    rows = jax.device_put(rows, NamedSharding(mesh, PartitionSpec(BATCH)))
    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
        assert_same_step(backbone_gradient("pallas_interpret")(params, *rows))


def test_devices_that_do_not_divide_rows_or_heads_are_refused():
    (_, *rows), _ = tokens_and_params()
    x = jnp.zeros((4, 256, 2, 16))
    for settings_, problem in (
        (MeshSettings(fsdp=2, tensor=4), "2 key-value heads do not divide over 4 devices"),
        (MeshSettings(data=4, fsdp=2), "4 rows do not divide over 8 devices"),
    ):
        with jax.set_mesh(make_mesh(settings_)), nn.logical_axis_rules(LOGICAL_RULES):
            with pytest.raises(InputError, match=problem):
                jax.eval_shape(functools.partial(attend, implementation="pallas_interpret"), x, x, x, *rows)


@pytest.mark.parametrize("remat", REMAT)
def test_remat_that_keeps_attention_runs_its_kernel_once(remat):
    rows, params = tokens_and_params()
    program = str(jax.make_jaxpr(backbone_gradient("pallas_interpret", remat))(params, *rows))
    kept = remat == "none" or "attention" in remat
    assert program.count("name=tree_attention_forward") == (1 if kept else 2)
    assert program.count("name=tree_attention_backward_queries") == 1


# Which implementation


def test_auto_is_chosen_by_platform_type_and_shape():
    fits, odd = (8, 2048, 32, 128), (8, 100, 32, 128)
    assert [fastest("tpu", fits, dtype) for dtype in (jnp.bfloat16, jnp.float32)] == ["pallas"] * 2
    assert [fastest("gpu", shape, jnp.bfloat16) for shape in (fits, odd)] == ["cudnn"] * 2
    assert fastest("gpu", fits, jnp.float32) == fastest("tpu", odd, jnp.bfloat16) == "xla"
    assert fastest("tpu", fits, jnp.float16) == fastest("cpu", fits, jnp.bfloat16) == "xla"


def test_auto_is_the_very_same_program_on_cpu():
    if jax.default_backend() != "cpu":
        pytest.skip("this machine has an accelerator")
    rows, params = tokens_and_params()
    auto, xla = (backbone_gradient(name).lower(params, *rows).as_text() for name in ("auto", "xla"))
    assert auto == xla and Backbone(CFG).attention == "auto"


def test_platform_is_that_of_the_mesh_then_of_the_default_device():
    assert platform() == jax.default_backend()
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = AbstractMesh((8,), ("fsdp",), axis_types=(AxisType.Auto,), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        assert platform() == "tpu"
    with jax.default_device(jax.devices("cpu")[0]):
        assert platform() == "cpu"


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "problem"),
    [
        ((1, 200, 2, 16), jnp.float32, {}, "200 tokens.*pad rows to 256"),
        ((1, 256, 2, 16), jnp.float16, {}, "float16.*all bf16 or all fp32"),
        ((1, 256, 2, 16), jnp.float32, {"block": 192}, "blocks of 192"),
        ((1, 256, 2, 16), jnp.float32, {"block": 512}, "blocks of 512"),
    ],
)
def test_what_the_kernels_cannot_do_is_refused(shape, dtype, options, problem):
    x, ids = jnp.zeros(shape, dtype), jnp.zeros(shape[:2], jnp.int32)
    with pytest.raises(InputError, match=problem):
        tree_attention(x, x, x, ids, ids, ids, **options)


def test_cudnn_does_not_compute_in_fp32():
    x, ids = jnp.zeros((1, 128, 1, 64)), jnp.zeros((1, 128), jnp.int32)
    with pytest.raises(InputError, match="float32.*bfloat16"):
        attend(x, x, x, ids, ids, ids, implementation="cudnn")
