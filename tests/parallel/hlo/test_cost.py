"""FLOPs and collectives of compiled programs equal what arithmetic says, inside loops and fusions too."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.parallel.slices import parse_slice, topology
from tests.parallel.hlo.cost import Collective, Kernel, program_cost
from tests.parallel.hlo.known_programs import CONVOLUTIONS, LAYERS, PRODUCTS, W, array, lower, rows, scan

KNOWN = {**{program.__name__: program for program in PRODUCTS}, **CONVOLUTIONS}


def mesh(devices=None):
    return Mesh(np.asarray(devices or jax.devices()), ("x",), axis_types=(AxisType.Auto,))


@pytest.mark.parametrize("name", KNOWN)
def test_flops_are_those_of_arithmetic(name):
    lowered, flops = lower(KNOWN[name], mesh())
    cost = program_cost(lowered.compile().as_text())
    assert cost.flops == flops and not cost.unknown_loops and not cost.kernels


@pytest.mark.parametrize("name", ["scan", "nested_scan", "rematerialised_gradient", "counts_by_two"])
def test_trip_counts_are_read_from_the_loop_where_the_compiler_says_none(name):
    lowered, flops = lower(KNOWN[name], mesh())
    text, notes = re.subn(r'"known_trip_count":\{"n":"\d+"\}', '"x":0', lowered.compile().as_text())
    assert notes and program_cost(text).flops == flops


def test_a_loop_that_depends_on_data_is_named_and_counted_once():
    def program(x, w):
        return lax.while_loop(lambda x: jnp.sum(x) < 1, lambda x: jnp.tanh(x @ w), x)

    lowered, _ = lower(lambda m: (program, (rows(m), array(m, W, W)), None), mesh())
    cost = program_cost(lowered.compile().as_text())
    assert cost.flops == 2 * W**3 and len(cost.unknown_loops) == 1


def in_loop(collective):
    """A scan of one collective over 7 steps, on arrays of [W, W] per device."""

    def known(m):
        ring = [(i, (i + 1) % m.size) for i in range(m.size)]

        def body(x, _):
            return jnp.tanh(collective(x, ring)), None

        def program(x):
            part = PartitionSpec("x")
            run = jax.shard_map(
                lambda x: lax.scan(body, x, None, length=LAYERS)[0], in_specs=part, out_specs=part, check_vma=False
            )
            return run(x)

        return program, (rows(m),), None

    return known


KINDS = {
    "all-gather": (lambda x, _: lax.all_gather(x, "x", tiled=True)[:W], 8 * W * W * 4),
    "all-reduce": (lambda x, _: lax.psum(x, "x"), W * W * 4),
    "reduce-scatter": (lambda x, _: lax.psum_scatter(jnp.tile(x, (8, 1)), "x", tiled=True), 8 * W * W * 4),
    "all-to-all": (lambda x, _: lax.all_to_all(x, "x", 0, 0, tiled=True), W * W * 4),
    "collective-permute": (lambda x, ring: lax.ppermute(x, "x", ring), W * W * 4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_collectives_are_counted_as_often_as_they_run(kind):
    collective, size = KINDS[kind]
    lowered, _ = lower(in_loop(collective), mesh())
    cost = program_cost(lowered.compile().as_text())
    assert cost.collectives == (Collective(kind, LAYERS, LAYERS * size),)


def hlo(entry, *others, parameter="f32[8,4]{1,0:T(8,128)}"):
    return "\n".join(
        (*others, "ENTRY %main (x: f32[8,4]) -> f32[8,4] {", f"  %x = {parameter} parameter(0)", entry, "}")
    )


def test_an_asynchronous_collective_is_counted_where_it_starts():
    text = hlo(
        """  %s = (f32[8,4]{1,0}, f32[32,4]{1,0}) all-gather-start(%x), channel_id=1, dimensions={0}
  %g = f32[32,4]{1,0} all-gather-done(%s)
  %w = ((f32[32,4]{1,0}), f32[8,4]{1,0}, s32[]) async-start(%g), calls=%wrapped
  ROOT %r = f32[8,4]{1,0} async-done(%w), calls=%wrapped""",
        """%wrapped (p: f32[32,4]) -> f32[8,4] {
  %p = f32[32,4]{1,0} parameter(0)
  ROOT %rs = f32[8,4]{1,0} reduce-scatter(%p), channel_id=2, dimensions={0}, to_apply=%add
}""",
    )
    assert set(program_cost(text).collectives) == {
        Collective("all-gather", 1, 32 * 4 * 4),
        Collective("reduce-scatter", 1, 32 * 4 * 4),
    }


def test_a_collective_spread_over_tpu_fusions_is_counted_once():
    gather = (
        "%{0} = bf16[8,16]{{1,0:T(8,128)(2,1)}} all-gather(%{1}), channel_id=56, dimensions={{1}}, "
        'backend_config={{"async_collective_fusion_config":{{"flag_start":"2"}}}}'
    )

    def part(name, *lines):
        header = f"%{name} ({name}.p: bf16[8,4]) -> (bf16[8,4], bf16[8,16]) {{"
        return "\n  ".join((header, f"%{name}.p = bf16[8,4]{{1,0}} parameter(0)", *lines)) + "\n}"

    text = hlo(
        """  %s = (bf16[8,4]{1,0}, bf16[8,16]{1,0}, u32[]{:S(2)}) fusion(%x), kind=kCustom, calls=%start
  %m = (f32[8,8]{1,0}, bf16[8,16]{1,0}) fusion(%x), kind=kOutput, calls=%middle
  ROOT %d = bf16[8,16]{1,0} fusion(%x), kind=kCustom, calls=%done""",
        part("start", gather.format("g1", "start.p"),
             'ROOT %c1 = (bf16[8,4]{1,0}, u32[]{:S(2)}) custom-call(%g1), custom_call_target="AsyncCollectiveStart"'),
        part("middle", gather.format("g2", "middle.p"),
             "%dot.1 = f32[8,8]{1,0} dot(%middle.p, %middle.p), lhs_contracting_dims={1}, rhs_contracting_dims={1}",
             "ROOT %t = (f32[8,8]{1,0}, bf16[8,16]{1,0}) tuple(%dot.1, %g2)"),
        part("done", gather.format("g3", "done.p"),
             'ROOT %c3 = bf16[8,16]{1,0} custom-call(%done.p, %g3), custom_call_target="AsyncCollectiveDone"'),
        parameter="bf16[8,4]{1,0:T(8,128)(2,1)}",
    )  # fmt: skip
    cost = program_cost(text)
    assert cost.collectives == (Collective("all-gather", 1, 8 * 16 * 2),)
    assert cost.flops == 2 * 8 * 8 * 4 and not cost.kernels


def test_an_all_reduce_fused_with_its_slices_is_a_reduce_scatter():
    text = hlo(
        """  %f = (f32[2,4]{1,0}, f32[2,4]{1,0}) fusion(%x), kind=kCustom, calls=%all-reduce-scatter
  ROOT %a = f32[8,4]{1,0} all-reduce(%x), channel_id=2, to_apply=%add""",
        """%all-reduce-scatter (p: f32[8,4]) -> (f32[2,4], f32[2,4]) {
  %p = f32[8,4]{1,0} parameter(0)
  %ar = (f32[8,4]{1,0}, f32[8,4]{1,0}) all-reduce(%p, %p), channel_id=1, to_apply=%add
  %z = u32[] constant(0)
  %a0 = f32[8,4]{1,0} get-tuple-element(%ar), index=0
  %a1 = f32[8,4]{1,0} get-tuple-element(%ar), index=1
  %d0 = f32[2,4]{1,0} dynamic-slice(%a0, %z, %z), dynamic_slice_sizes={2,4}
  %d1 = f32[2,4]{1,0} dynamic-slice(%a1, %z, %z), dynamic_slice_sizes={2,4}
  ROOT %t = (f32[2,4]{1,0}, f32[2,4]{1,0}) tuple(%d0, %d1)
}""",
    )
    reduce_scatter, all_reduce = Collective("reduce-scatter", 1, 2 * 128), Collective("all-reduce", 1, 128)
    assert program_cost(text).collectives == (reduce_scatter, all_reduce)


def loop(start, body, test, type="s32"):
    return hlo(
        f"""  %start = {type}[] constant({start})
  %t = ({type}[], f32[8,4]{{1,0}}) tuple(%start, %x)
  %loop = ({type}[], f32[8,4]{{1,0}}) while(%t), condition=%go.on, body=%body
  ROOT %r = f32[8,4]{{1,0}} get-tuple-element(%loop), index=1""",
        f"""%body (b: ({type}[], f32[8,4])) -> ({type}[], f32[8,4]) {{
  %b = ({type}[], f32[8,4]{{1,0}}) parameter(0)
  %i = {type}[] get-tuple-element(%b), index=0
  %y = f32[8,4]{{1,0}} get-tuple-element(%b), index=1
  %step = {type}[] constant(3)
  %next = {type}[] {body}
  %k = f32[8,4]{{1,0}} custom-call(%y), custom_call_target="work"
  ROOT %bt = ({type}[], f32[8,4]{{1,0}}) tuple(%next, %k)
}}
%go.on (c: ({type}[], f32[8,4])) -> pred[] {{
  %c = ({type}[], f32[8,4]{{1,0}}) parameter(0)
  %j = {type}[] get-tuple-element(%c), index=0
  %limit = {type}[] constant(20)
  ROOT %cmp = pred[] compare({test[0]}), direction={test[1]}
}}""",
    )


@pytest.mark.parametrize(
    ("start", "body", "test", "values"),
    [
        (0, "add(%i, %step)", ("%j, %limit", "LT"), range(0, 20, 3)),
        (-1, "add(%step, %i)", ("%j, %limit", "LE"), range(-1, 21, 3)),
        (2, "add(%i, %step)", ("%j, %limit", "NE"), range(2, 20, 3)),
        (90, "subtract(%i, %step)", ("%j, %limit", "GT"), range(90, 20, -3)),
        (80, "subtract(%i, %step)", ("%j, %limit", "GE"), range(80, 19, -3)),
        (5, "add(%i, %step)", ("%limit, %j", "GT"), range(5, 20, 3)),
        (5, "add(%i, %step)", ("%limit, %j", "GE"), range(5, 21, 3)),
        (30, "add(%i, %step)", ("%j, %limit", "LT"), ()),
        (0, "multiply(%i, %step)", ("%j, %limit", "LT"), None),
        (0, "add(%i, %step)", ("%j, %limit", "NE"), None),
        (0, "subtract(%step, %i)", ("%j, %limit", "LT"), None),
    ],
)
def test_iterations_are_those_of_python(start, body, test, values):
    cost = program_cost(loop(start, body, test))
    assert cost.unknown_loops == (("loop",) if values is None else ())
    assert sum(kernel.count for kernel in cost.kernels) == (1 if values is None else len(values))


def test_kernels_are_named_and_their_declared_flops_added():
    call = (
        '  %{0} = f32[8,4]{{1,0}} custom-call(%x), custom_call_target="tpu_custom_call", metadata={{op_name="{1}"}}{2}'
    )
    declared = (
        ', backend_config={"custom_call_config":{"body":"YQ==","cost_estimate":{"flops":"640","transcendentals":"0"}}}'
    )
    lines = [
        call.format("a.1", "jit(f)/while/body/forward_kernel/pallas_call", declared),
        call.format("a.2", "jit(f)/forward_kernel/pallas_call", declared),
        call.format("b", "jit(f)/silent/pallas_call", ""),
        '  ROOT %c = f32[8,4]{1,0} custom-call(%x), custom_call_target="topk"',
    ]
    cost = program_cost(hlo("\n".join(lines)))
    assert cost.flops == 2 * 640
    assert cost.kernels[0] == Kernel("forward_kernel", "tpu_custom_call", 2, 1280)
    assert set(cost.kernels[1:]) == {Kernel("silent", "tpu_custom_call", 1, None), Kernel("topk", "topk", 1, None)}


def test_text_that_is_no_program_is_refused():
    with pytest.raises(InputError, match="entry"):
        program_cost("module @jit_f {}")


@pytest.fixture(scope="module")
def v5e():
    return mesh(topology(parse_slice("v5e:2x2")).devices)


@pytest.mark.aot
@pytest.mark.parametrize("name", KNOWN)
def test_flops_on_a_tpu_are_those_of_arithmetic(name, v5e):
    lowered, flops = lower(KNOWN[name], v5e)
    cost = program_cost(lowered.compile().as_text())
    assert not cost.unknown_loops and not cost.kernels
    if name == "strided":  # rewritten for the matrix unit, with real padding
        assert flops < cost.flops < 2 * flops
    else:
        assert cost.flops == flops


@pytest.mark.aot
@pytest.mark.parametrize("kind", ["all-gather", "all-reduce", "all-to-all", "collective-permute"])
def test_collectives_on_a_tpu_are_counted_as_often_as_they_run(kind, v5e):
    lowered, _ = lower(in_loop(KINDS[kind][0]), v5e)
    (found,) = program_cost(lowered.compile().as_text()).collectives
    size = KINDS[kind][1] // (2 if kind == "all-gather" else 1)
    assert found == Collective(kind, LAYERS, LAYERS * size)


@pytest.mark.aot
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5p:2x2x1", "v6e:2x2"])
def test_every_generation_prints_text_that_can_be_read(name):
    lowered, flops = lower(scan, mesh(topology(parse_slice(name)).devices))
    assert program_cost(lowered.compile().as_text()).flops == flops


@pytest.mark.aot
def test_a_pallas_kernel_on_a_tpu_declares_its_flops(v5e):
    from jax.experimental import pallas as pl

    def kernel(x, y, out):
        out[...] = jnp.dot(x[...], y[...], preferred_element_type=jnp.float32)

    cost = pl.CostEstimate(flops=2 * W**3, transcendentals=0, bytes_accessed=3 * W * W * 4)
    call = pl.pallas_call(kernel, jax.ShapeDtypeStruct((W, W), jnp.float32), name="product", cost_estimate=cost)

    def known(m):
        def program(x):
            part = PartitionSpec("x")
            run = jax.shard_map(
                lambda x: lax.scan(lambda x, _: (call(x, x), None), x, None, length=LAYERS)[0],
                in_specs=part, out_specs=part, check_vma=False,
            )  # fmt: skip
            return run(x)

        return program, (rows(m),), None

    lowered, _ = lower(known, v5e)
    counted = program_cost(lowered.compile().as_text())
    assert counted.kernels == (Kernel("product", "tpu_custom_call", LAYERS, LAYERS * 2 * W**3),)
    assert counted.flops == LAYERS * 2 * W**3
