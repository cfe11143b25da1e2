"""How often a while loop of compiled HLO runs: from the compiler's own note, or from its counter.

CPU and GPU compilers write ``known_trip_count`` beside a loop; TPU's text leaves it out, but a loop that came from
`jax.lax.scan` counts from a constant by a constant up to a constant, and all three can be read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from tests.parallel.hlo.text import Computation, Instruction, Program

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_WHOLE_NUMBER = re.compile(r"[su]\d+\[\]")
_SAME_VALUE = ("copy", "bitcast", "convert", "reshape", "copy-start", "copy-done", "optimization-barrier")


@dataclasses.dataclass(frozen=True)
class _Counter:
    """An element of the loop's state plus a constant."""

    index: int
    offset: int = 0


class _State:
    """The tuple that the loop carries."""


def trip_count(program: Program, caller: Computation, loop: Instruction) -> int | None:
    """Iterations of a while loop, None where they cannot be known before it runs.

    Args:
      program: all computations.
      caller: the computation that `loop` is an instruction of.
      loop: the while instruction.
    """
    if known := _KNOWN.search(loop.attributes):
        return int(known[1])
    condition, body = (program.computations[loop.attribute(name)] for name in ("condition", "body"))
    test, left, right = _comparison(program, condition)
    if isinstance(left, int):
        test, left, right = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE"}.get(test, test), right, left
    if not isinstance(left, _Counter) or not isinstance(right, int):
        return None
    start = _element(program, caller, loop.operands[0], left.index, {})
    after = _element(program, body, body.root, left.index, _state_of(body))
    if not isinstance(start, int) or not isinstance(after, _Counter) or after.index != left.index:
        return None
    return _iterations(test, start + left.offset, after.offset, right)


def _iterations(test: str, start: int, step: int, limit: int) -> int | None:
    """Values of start, start + step, ... before ``value test limit`` fails."""
    distance = limit - start
    if test in ("GT", "GE"):
        distance, step = -distance, -step
    if test == "NE":
        return distance // step if step and distance % step == 0 and distance // step >= 0 else None
    if step <= 0 or test not in ("LT", "GT", "LE", "GE"):
        return None
    return max(0, -(-(distance + (test in ("LE", "GE"))) // step))


def _comparison(program: Program, condition: Computation):
    """Direction and both sides of the comparison that decides whether the loop goes on."""
    computation, env = condition, _state_of(condition)
    root = computation.instructions[computation.root]
    while root.opcode == "fusion":
        values = [_value(program, computation, name, env) for name in root.operands]
        computation = program.computations[root.attribute("calls")]
        env, root = _arguments(computation, values), computation.instructions[computation.root]
    if root.opcode != "compare":
        return "", None, None
    return root.attribute("direction"), *(_value(program, computation, name, env) for name in root.operands)


def _state_of(computation: Computation) -> dict[str, Any]:
    return _arguments(computation, [_State()])


def _arguments(computation: Computation, values) -> dict[str, Any]:
    """What is known about each parameter of a computation, by its name."""
    parameters = [i for i in computation.instructions.values() if i.opcode == "parameter"]
    return {p.name: values[int(p.argument)] for p in parameters}


def _value(program: Program, computation: Computation, name: str, env: Mapping[str, Any]):
    """The number a scalar is, the `_Counter` it equals, the `_State` it is, or None."""
    if name in env:
        return env[name]
    instruction = computation.instructions[name]
    if not _WHOLE_NUMBER.match(instruction.type):
        return None
    if instruction.opcode == "constant":
        return int(instruction.argument) if re.fullmatch(r"-?\d+", instruction.argument) else None
    if instruction.opcode in _SAME_VALUE:
        return _value(program, computation, instruction.operands[0], env)
    if instruction.opcode == "get-tuple-element":
        index = int(instruction.attribute("index"))
        return _element(program, computation, instruction.operands[0], index, env)
    if instruction.opcode in ("add", "subtract"):
        left, right = (_value(program, computation, operand, env) for operand in instruction.operands)
        return _sum(left, right, -1 if instruction.opcode == "subtract" else 1)
    if instruction.opcode in ("fusion", "call"):
        inner, inner_env = _enter(program, computation, instruction, env)
        return _value(program, inner, inner.root, inner_env)
    return None


def _element(program: Program, computation: Computation, name: str, index: int, env: Mapping[str, Any]):
    """`_value` of one element of a tuple."""
    if name in env:
        return _Counter(index) if isinstance(env[name], _State) else None
    instruction = computation.instructions[name]
    if instruction.opcode == "tuple":
        return _value(program, computation, instruction.operands[index], env)
    if instruction.opcode in _SAME_VALUE:
        return _element(program, computation, instruction.operands[0], index, env)
    if instruction.opcode in ("fusion", "call"):
        inner, inner_env = _enter(program, computation, instruction, env)
        return _element(program, inner, inner.root, index, inner_env)
    return None


def _enter(program, computation, instruction, env):
    """The computation that a fusion or call runs, and what is known about its parameters."""
    values = [_value(program, computation, operand, env) for operand in instruction.operands]
    inner = program.computations[instruction.attribute("calls") or instruction.attribute("to_apply")]
    return inner, _arguments(inner, values)


def _sum(left, right, sign: int):
    if isinstance(left, int) and isinstance(right, int):
        return left + sign * right
    if isinstance(left, _Counter) and isinstance(right, int):
        return _Counter(left.index, left.offset + sign * right)
    if isinstance(right, _Counter) and isinstance(left, int) and sign == 1:
        return _Counter(right.index, right.offset + left)
    return None
