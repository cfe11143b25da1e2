"""A report says what a compiled step needs, or by how much the compiler refused it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from encore_jax.parallel.aot import GIB, bytes_per_device, compile_report, parse_out_of_memory
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.parallel.slices import parse_slice, topology

V5E = parse_slice("v5e:8")  # as many chips as there are fake devices
EARLY = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (100.00G) exceeds "
    "available HBM (15.75G)."
)
LATE = """RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: XLA:TPU compile permanent error. \
Ran out of memory in memory space hbm. Used 15.75G of 15.75G hbm. Exceeded hbm capacity by 2.27M.

Total hbm usage >= 16.00G:
    reserved        258.00M
    program           2.07G
    arguments        13.68G
"""


def split(mesh, *shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec("x")))


def step(state, batch):
    weight, moment = state
    gradient = batch.T @ jnp.tanh(batch @ weight)
    return (weight - gradient, moment + gradient), jnp.sum(gradient)


def lowered(mesh):
    state = split(mesh, 64, 32), split(mesh, 64, 32)
    return jax.jit(step, donate_argnums=0).lower(state, split(mesh, 128, 64)), state


@pytest.fixture(scope="module")
def report():
    mesh = Mesh(np.asarray(jax.devices()), ("x",), axis_types=(AxisType.Auto,))
    program, (weight, moment) = lowered(mesh)
    sizes = dict(parameters_bytes=bytes_per_device(weight), optimizer_bytes=bytes_per_device(moment))
    return compile_report(program, slice=V5E, analytic_flops=4 * 128 * 64 * 32, **sizes)


def test_memory_adds_up(report):
    memory = report.memory
    assert (memory.parameters, memory.optimizer, memory.other) == (1024, 1024, 128 * 64 * 4 // 8)
    assert memory.results < 1024 <= memory.temporaries  # the state's buffers are reused; gathered arrays are not free
    parts = (memory.parameters, memory.optimizer, memory.other, memory.results, memory.temporaries, memory.code)
    assert memory.peak == sum(parts) and memory.hbm == V5E.hbm_bytes
    assert report.fits and report.overrun == 0


def test_what_the_compiler_accepts_does_not_fit_if_its_parts_are_more_than_the_chip_has(report):
    """Seen of an 8B step squeezed into 15.75 GiB: accepted, with parts that sum to 18.8 GiB."""
    mesh = Mesh(np.asarray(jax.devices()), ("x",), axis_types=(AxisType.Auto,))
    small = dataclasses.replace(V5E, hbm_bytes=report.memory.peak - 1)
    again = compile_report(lowered(mesh)[0], slice=small, parameters_bytes=0, optimizer_bytes=0, analytic_flops=1)
    assert not again.fits and again.refusal is None and again.overrun == 1
    assert "DOES NOT FIT" in again.table()


def test_a_steps_time_is_that_of_its_analytic_flops_at_a_stated_share_of_the_peak(report):
    assert report.seconds_at_mfu == pytest.approx(report.analytic_flops / (8 * 197e12 * 0.4))


def test_the_dictionary_is_json_and_the_table_says_the_same(report):
    written = json.loads(json.dumps(report.to_dict()))
    assert written["fits"] and written["slice"] == "v5e:2x4" and written["chips"] == 8
    assert written["per_chip_gib"]["hbm"] == round(V5E.hbm_bytes / GIB, 4) and written["refusal"] is None
    assert written["analytic_flops_per_step"] == report.analytic_flops
    assert set(written["versions"]) == {"jax", "jaxlib", "libtpu"} and written["versions"]["jax"] == jax.__version__
    table = report.table()
    for words in ("v5e:2x4: 8 chips in 1 host,", "parameters", "optimizer state", "temporaries", "peak", "15.75: fits",
                  f"{report.analytic_flops:.3e}", "197 TFLOP/s a chip", "jaxlib"):  # fmt: skip
        assert words in table
    assert max(map(len, table.splitlines())) <= 120


class Refused:
    """A lowered program that the compiler refuses."""

    def __init__(self, message):
        self.message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


def refuse(message):
    return compile_report(
        Refused(message), slice=V5E, parameters_bytes=GIB, optimizer_bytes=2 * GIB, analytic_flops=10**15
    )


@pytest.mark.parametrize(("message", "overrun"), [(EARLY, 84.25 * GIB), (LATE, 2.27 * 2**20)])
def test_a_refusal_is_a_report_with_the_overrun(message, overrun):
    report = refuse(message)
    assert not report.fits
    assert report.overrun == pytest.approx(overrun, rel=1e-6)
    assert report.memory.peak - report.overrun == 15.75 * GIB == report.memory.hbm
    assert report.memory.temporaries is None
    written = json.loads(json.dumps(report.to_dict()))
    assert not written["fits"] and written["overrun_gib"] == pytest.approx(overrun / GIB, abs=1e-4)
    assert written["refusal"] == message.splitlines()[0]
    assert "DOES NOT FIT" in report.table() and "the compiler says: RESOURCE_EXHAUSTED" in report.table()


@pytest.mark.parametrize(
    "message",
    ["INTERNAL: Mosaic failed", "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20M of 16M vmem."],
)
def test_other_failures_are_not_hidden(message):
    assert parse_out_of_memory(message) is None
    with pytest.raises(jax.errors.JaxRuntimeError, match=message[:20]):
        refuse(message)


def test_bytes_per_device_are_those_of_real_shards():
    mesh = make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    specs = [PartitionSpec("fsdp", "tensor"), PartitionSpec(("data", "fsdp")), PartitionSpec()]
    arrays = [
        jax.device_put(np.zeros((8, 6), dtype), NamedSharding(mesh, spec))
        for spec, dtype in zip(specs, (np.float32, np.int8, jnp.bfloat16), strict=True)
    ]
    held = sum(shard.data.nbytes for array in arrays for shard in array.addressable_shards[:1])
    described = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for x in arrays]
    assert bytes_per_device(described) == bytes_per_device(arrays) == held


@pytest.mark.aot
def test_the_peak_is_what_the_compiler_holds_against_the_hbm():
    tpu = parse_slice("v5e:2x2")
    mesh = Mesh(np.asarray(topology(tpu).devices), ("x",), axis_types=(AxisType.Auto,))

    def step(state, ballast, w):
        product = state @ w
        return state + 1, ballast + 1, (product @ w).T @ product

    def report(mib):
        arguments = split(mesh, 4 * 64 * 1024, 4096), split(mesh, 4 * 64 * mib, 4096), split(mesh, 4096, 4096)
        program = jax.jit(step, donate_argnums=(0, 1)).lower(*arguments)
        return compile_report(program, slice=tpu, parameters_bytes=0, optimizer_bytes=0, analytic_flops=1)

    small = report(1024)
    assert small.memory.temporaries > GIB // 2  # a product is kept, in bf16
    room = (small.memory.hbm - small.memory.peak) // 2**20
    fits, refused = report(1024 + room - 8), report(1024 + room + 8)
    assert fits.fits and fits.memory.peak - small.memory.peak == pytest.approx((room - 8) * 2**20, abs=2**20)
    assert not refused.fits and 0 < refused.overrun < 16 * 2**20
