"""Optimised HLO text, as `compiled.as_text()` prints it, read into computations and instructions.

Only what counting needs is read: names, types, opcodes, operands; attributes stay text until someone asks for one.
"""

from __future__ import annotations

import dataclasses
import math
import re

from encore_jax.errors import InputError

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r" ([a-z][\w\-]*)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,<=]*)\]")
_PARENTHESIS = re.compile(r"[()]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: unique in the program, without the percent sign.
      type: of the result, as text, e.g. ``"bf16[8,128]{1,0}"`` or a tuple of such.
      opcode: e.g. ``"dot"``.
      operands: names of other instructions of the same computation.
      argument: the text between the opcode's parentheses: a constant's value, a parameter's number.
      attributes: the text after them.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    argument: str
    attributes: str

    def attribute(self, name: str) -> str | None:
        """The computation, number or ``{...}`` list that the attribute holds, or None."""
        found = re.search(rf", {name}=%?([\w.\-]+|{{[^}}]*}})", self.attributes)
        return found and found[1]

    def dims(self, name: str) -> tuple[int, ...]:
        """A list of dimension numbers, ``()`` where the attribute is missing."""
        return tuple(int(n) for n in re.findall(r"\d+", self.attribute(name) or ""))


@dataclasses.dataclass(frozen=True)
class Computation:
    """A named list of instructions with its result."""

    instructions: dict[str, Instruction]
    root: str


@dataclasses.dataclass(frozen=True)
class Program:
    """All computations of a compiled module; `entry` names the one that runs."""

    computations: dict[str, Computation]
    entry: str


def parse_program(text: str) -> Program:
    """Reads the text of one compiled module.

    Raises:
      InputError: there is no entry computation.

    >>> program = parse_program('''HloModule jit_f
    ...
    ... ENTRY %main.3 (x.1: f32[8,4]) -> f32[8,8] {
    ...   %x.1 = f32[8,4]{1,0} parameter(0)
    ...   ROOT %dot.2 = f32[8,8]{1,0} dot(%x.1, %x.1), lhs_contracting_dims={1}, rhs_contracting_dims={1}
    ... }
    ... ''')
    >>> dot = program.computations[program.entry].instructions["dot.2"]
    >>> dot.opcode, dot.operands, dot.dims("lhs_contracting_dims")
    ('dot', ('x.1', 'x.1'), (1,))
    """
    computations: dict[str, Computation] = {}
    name = entry = root = None
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if line.startswith("}") and name is not None:
            computations[name] = Computation(instructions, root)
            name = None
        elif not line.startswith(" "):
            if header := _COMPUTATION.match(line):
                name, instructions, root = header[2], {}, None
                entry = name if header[1] else entry
        elif name is not None and (head := _INSTRUCTION.match(line)):
            instruction = _instruction(head[2], line, head.end())
            instructions[instruction.name] = instruction
            root = instruction.name if head[1] else root
    if entry is None:
        raise InputError("no entry computation", where="HLO text", fix="pass the output of compiled.as_text()")
    return Program(computations, entry)


def _instruction(name: str, line: str, start: int) -> Instruction:
    after_type = _closing(line, start) if line[start] == "(" else line.index(" ", start)
    opcode = _OPCODE.match(line, after_type)
    end = _closing(line, opcode.end() - 1)
    argument = line[opcode.end() : end - 1]
    return Instruction(name, line[start:after_type], opcode[1], tuple(_NAME.findall(argument)), argument, line[end:])


def _closing(line: str, start: int) -> int:
    """Where the text in parentheses that opens at `start` is over."""
    depth = 0
    for match in _PARENTHESIS.finditer(line, start):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return match.end()
    raise InputError(f"unbalanced parentheses in {line[:120]!r}", where="HLO text")


def shape(type_text: str) -> tuple[int, ...]:
    """The dimensions of an array type.

    >>> shape("bf16[1,2048,4096]{2,1,0:T(8,128)(2,1)}"), shape("f32[]")
    ((1, 2048, 4096), ())
    """
    return _dims(_ARRAY.search(type_text)[3])


def type_bytes(type_text: str) -> int:
    """Bytes of an array type, or of all arrays of a tuple type, without padding of tiles.

    >>> type_bytes("(bf16[2,3]{1,0}, (f32[4]{0}, pred[]), token[])"), type_bytes("s4[6]")
    (29, 3)
    """
    return sum(
        math.prod(_dims(dims)) * (8 if kind == "pred" else int(bits or 0)) // 8
        for kind, bits, dims in _ARRAY.findall(type_text)
    )


def _dims(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text))
