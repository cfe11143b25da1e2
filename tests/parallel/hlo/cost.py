"""What one run of a compiled SPMD program costs a device: FLOPs, collectives, kernels.

XLA's own `cost_analysis` counts the body of a while loop once, so the layers of a scanned model are counted as one.
Here every computation is costed once and multiplied by how often it runs.

Conventions:

- FLOPs are those of dots and convolutions, two per multiply-add, wherever they hide: in fusions, calls, loops. As in
  XLA, multiply-adds with padding are not counted (TPU compilers write dots as padded convolutions). Elementwise work
  and products that were compiled to multiply-and-sum are not counted.
- Bytes of a collective are those of the whole array that one device takes part in: what an all-gather gives, and
  what any other collective takes. An asynchronous one is counted where it starts. An all-reduce that is fused with
  the slices of its result is a reduce-scatter.
- Of the branches of a conditional, the one with most FLOPs counts.
- A kernel (custom call) has no FLOPs in HLO; those it declares are added to the total.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from functools import lru_cache

from tests.parallel.hlo.loops import trip_count
from tests.parallel.hlo.text import Computation, Instruction, Program, parse_program, shape, type_bytes

_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
                "collective-broadcast")  # fmt: skip
_BOOKKEEPING = ("AllocateBuffer", "ConcatBitcast", "AsyncCollectiveStart", "AsyncCollectiveDone", "Sharding",
                "AssumeGatherIndicesInBound", "GatherScatterIndicesBitpacked")  # fmt: skip
"""Custom calls by which the TPU compiler talks to itself."""


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind.

    Attributes:
      kind: "all-gather", "reduce-scatter", ...
      count: how many run.
      bytes: their arrays' sizes together.
    """

    kind: str
    count: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Kernel:
    """All custom calls of one name.

    Attributes:
      name: of the Pallas kernel where it has one, else the target.
      target: e.g. "tpu_custom_call".
      count: how many run.
      flops: as the kernels declare, None where they do not.
    """

    name: str
    target: str
    count: int
    flops: int | None


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """Per device and run of the program.

    Attributes:
      flops: of dots, convolutions and the kernels that declare theirs.
      collectives, kernels: the largest first.
      unknown_loops: names of while loops whose trip count cannot be read; they are counted as one iteration.
    """

    flops: int
    collectives: tuple[Collective, ...]
    kernels: tuple[Kernel, ...]
    unknown_loops: tuple[str, ...]


def program_cost(text: str) -> ProgramCost:
    """Costs the text of a compiled program, `compiled.as_text()`.

    >>> program_cost('''
    ... ENTRY %main (x: f32[8,4]) -> f32[8,8] {
    ...   %x = f32[8,4]{1,0} parameter(0)
    ...   ROOT %dot = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}
    ... }
    ... ''').flops
    512
    """
    program = parse_program(text)
    total = _Coster(program).of(program.entry)
    collectives = [Collective(kind, n, total.bytes[kind]) for kind, n in total.collectives.items()]
    kernels = [Kernel(*key[:2], n, total.declared[key] if key[2] else None) for key, n in total.kernels.items()]
    return ProgramCost(
        flops=total.flops + sum(total.declared.values()),
        collectives=tuple(sorted(collectives, key=lambda c: -c.bytes)),
        kernels=tuple(sorted(kernels, key=lambda k: -(k.flops or 0))),
        unknown_loops=tuple(sorted(total.unknown)),
    )


@dataclasses.dataclass
class _Tally:
    """A sum of costs; kernels are keyed by (name, target, whether they declare FLOPs)."""

    flops: int = 0
    collectives: Counter = dataclasses.field(default_factory=Counter)
    bytes: Counter = dataclasses.field(default_factory=Counter)
    kernels: Counter = dataclasses.field(default_factory=Counter)
    declared: Counter = dataclasses.field(default_factory=Counter)
    unknown: set[str] = dataclasses.field(default_factory=set)

    def add(self, other: _Tally, times: int = 1) -> None:
        self.flops += times * other.flops
        for field in ("collectives", "bytes", "kernels", "declared"):
            mine = getattr(self, field)
            for key, n in getattr(other, field).items():
                mine[key] += times * n
        self.unknown |= other.unknown


class _Coster:
    """Costs each computation of one program once."""

    def __init__(self, program: Program):
        self.program, self.known = program, {}

    def of(self, name: str, fused: bool = False) -> _Tally:
        """One run of a computation; `fused`: it is the body of a fusion."""
        if name not in self.known:
            computation, total = self.program.computations[name], _Tally()
            for instruction in computation.instructions.values():
                self._add(total, computation, instruction, fused)
            self.known[name] = total
        return self.known[name]

    def _add(self, total: _Tally, computation: Computation, instruction: Instruction, fused: bool) -> None:
        opcode = instruction.opcode
        if opcode == "dot":
            total.flops += dot_flops(computation, instruction)
        elif opcode == "convolution":
            total.flops += convolution_flops(computation, instruction)
        elif opcode in ("fusion", "call", "async-start"):
            callee = instruction.attribute("calls") or instruction.attribute("to_apply")
            total.add(self.of(callee, fused or opcode == "fusion"))
        elif opcode == "while":
            trips = trip_count(self.program, computation, instruction)
            if trips is None:
                total.unknown.add(instruction.name)
            total.add(self.of(instruction.attribute("body")), 1 if trips is None else trips)
        elif opcode == "conditional":
            total.add(max((self.of(branch) for branch in _branches(instruction)), key=lambda tally: tally.flops))
        elif opcode == "custom-call":
            _add_kernel(total, instruction)
        elif (kind := opcode.removesuffix("-start")) in _COLLECTIVES:
            kind = _collective_kind(kind, computation, instruction, fused)
            if kind:
                total.collectives[kind] += 1
                total.bytes[kind] += _collective_bytes(kind, computation, instruction)


def dot_flops(computation: Computation, dot: Instruction) -> int:
    """Two per element of the result and of the contracted dimensions."""
    left = shape(computation.instructions[dot.operands[0]].type)
    contracted = math.prod(left[axis] for axis in dot.dims("lhs_contracting_dims"))
    return 2 * math.prod(shape(dot.type)) * contracted


def convolution_flops(computation: Computation, convolution: Instruction) -> int:
    """Two per multiply-add of an input (not padding) with a kernel entry."""
    left, kernel = (shape(computation.instructions[name].type) for name in convolution.operands)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", convolution.attributes).groups()
    out = shape(convolution.type)
    spatial = sorted(set(labels[2]) - set("bf"))
    steps = 1
    for axis in spatial:
        window = {name: _window(convolution, name, int(axis), default) for name, default in _WINDOW.items()}
        sizes = (dims[label.index(axis)] for dims, label in zip((left, kernel, out), labels, strict=True))
        steps *= _multiply_adds(*sizes, *window.values())
    others = math.prod(size for size, label in zip(out, labels[2], strict=True) if label not in spatial)
    return 2 * others * steps * kernel[labels[1].index("i")]


_WINDOW = {"stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}


def _window(convolution: Instruction, name: str, axis: int, default: str) -> int:
    """One number of the window of one spatial axis; of the padding, that before the input."""
    window = convolution.attribute("window") or ""
    found = re.search(rf"\b{name}=([\d_\-x]+)", window)
    return int((found[1].split("x")[axis] if found else default).split("_")[0])


@lru_cache(maxsize=4096)
def _multiply_adds(size: int, kernel: int, out: int, stride: int, pad: int, dilate: int, kernel_dilate: int) -> int:
    """Pairs of an output and a kernel place along one axis that meet an input."""
    last = (size - 1) * dilate
    pairs = 0
    for place in range(kernel):
        start = place * kernel_dilate - pad  # the (dilated) input that output 0 sees through this place
        if dilate == 1:
            first, end = max(0, -(start // stride)), min(out - 1, (last - start) // stride)
            pairs += max(0, end - first + 1)
        else:
            seen = range(start, start + out * stride, stride)
            pairs += sum(0 <= at <= last and at % dilate == 0 for at in seen)
    return pairs


def _branches(conditional: Instruction) -> list[str]:
    if listed := conditional.attribute("branch_computations"):
        return re.findall(r"[\w.\-]+", listed)
    return [conditional.attribute(f"{side}_computation") for side in ("true", "false")]


def _collective_kind(kind: str, computation: Computation, instruction: Instruction, fused: bool) -> str | None:
    """What a collective does in truth; None where it only continues one that started before."""
    if not fused:
        return kind
    users = [i for i in computation.instructions.values() if instruction.name in i.operands]
    starts = any('"AsyncCollectiveStart"' in user.attributes for user in users)
    if "async_collective_fusion_config" in instruction.attributes and not starts:
        return None
    parts = {user.name for user in users if user.opcode == "get-tuple-element"}
    users = [i for i in computation.instructions.values() if parts & set(i.operands)] if parts else users
    sliced = bool(users) and all(user.opcode == "dynamic-slice" for user in users)
    return "reduce-scatter" if kind == "all-reduce" and sliced else kind


def _collective_bytes(kind: str, computation: Computation, instruction: Instruction) -> int:
    taken = sum(type_bytes(computation.instructions[name].type) for name in instruction.operands)
    if kind != "all-gather":
        return taken
    given = type_bytes(instruction.type)
    return given - taken if instruction.opcode.endswith("-start") else given  # a start's result repeats its operands


def _add_kernel(total: _Tally, instruction: Instruction) -> None:
    target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)[1]
    if target in _BOOKKEEPING:
        return
    declared = re.search(r'"cost_estimate":\{"flops":"?(\d+)', instruction.attributes)
    named = re.search(r'op_name="[^"]*?([^/"]+)/pallas_call"', instruction.attributes)
    key = (named[1] if named else target, target, declared is not None)
    total.kernels[key] += 1
    if declared:
        total.declared[key] += int(declared[1])
