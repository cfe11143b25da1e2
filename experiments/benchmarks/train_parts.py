"""Where the time of a training step goes on this machine's CPU: the parts of `train_throughput`'s own step.

    python -m experiments.benchmarks.train_parts --pairs=pairs.jsonl [--steps 3] [--dtypes float32,bfloat16]
    python -m experiments.benchmarks.train_parts ... | python -m experiments.published -

The steps run under jax's profiler, which times every operation of the compiled program. An operation's part follows
from the program's text: what it computes, and whether it lies in attention (a branch of a conditional), in a layer (the
body of a loop) or outside. Its seconds are its median duration times its runs a step, so that an interruption by other
programs counts little; the two cores may work on two operations at once, so that the parts may add up to more than the
step. After every step the matrices are multiplied alone (`matmul_rate`, XLA): `alone` is what the products of all
layers would take at the median rate of that, as a share of the same sum.
"""

from __future__ import annotations

import collections
import glob
import gzip
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.json_shape import decode_json
from encore_jax.report.text_tables import markdown
from experiments.benchmarks import train_throughput as beside

PRODUCTS, ATTENTION = "matrix products of the layers", "attention: masks, products, softmax"
STACKS, COPIES = "stacking what is kept and the gradients", "transposed and other copies"
LAYER, FILLS = "norms, rotations, activation, casts", "filling stacks with zeros"
OUTSIDE = "optimizer, clipping, embedding, loss"
PARTS = (PRODUCTS, ATTENTION, STACKS, COPIES, LAYER, FILLS, OUTSIDE)
CONTAINERS = ("while", "conditional", "call")


class Operation(NamedTuple):
    """One line of a compiled program: its opcode, its computation, and the text of the line and of what it calls."""

    opcode: str
    computation: str
    text: str


def operations(program: str) -> dict[str, Operation]:
    """Operations of a program's text by name.

    >>> text = "%f (a: f32[2]) -> f32[2] {\\n  %n = f32[2]{0} negate(%a)\\n}\\n\\nENTRY %m {\\n  ROOT %x = f32[2]{0} fusion(%b), calls=%f\\n}"
    >>> operations(text)["x"].opcode, "negate(" in operations(text)["x"].text
    ('fusion', True)
    """  # noqa: E501
    bodies = _computations(program)
    found = {}
    for computation, body in bodies.items():
        for name, line in re.findall(r"^  (?:ROOT )?%([\w.\-]+) = (.*)$", body, re.M):
            opcode = re.search(r" ([\w\-]+)\(", " " + re.sub(r"^\(.*?\) ", "", line))
            called = "".join(bodies.get(c, "") for c in re.findall(r"calls=%([\w.\-]+)", line))
            found[name] = Operation(opcode[1] if opcode else "", computation, line + called)
    return found


def _computations(program: str) -> dict[str, str]:
    pieces = re.split(r"\n\n(?=%|ENTRY)", program)
    heads = [(re.match(r"(?:ENTRY )?%([\w.\-]+)", piece), piece) for piece in pieces]
    return {head[1]: piece for head, piece in heads if head}


def parts_of(program: str) -> dict[str, str]:
    """The part of every operation that is timed by itself, by name."""
    known = operations(program)
    inside: dict[str, set[str]] = collections.defaultdict(set)
    for op in known.values():
        if op.opcode in CONTAINERS:
            names = re.findall(r"(?:body|to_apply)=%([\w.\-]+)", op.text)
            branches = re.findall(r"branch_computations=\{([^}]*)\}", op.text)
            names += [name.strip().lstrip("%") for found in branches for name in found.split(",")]
            inside[op.computation] |= {(op.opcode, name) for name in names}
    entry = re.search(r"^ENTRY %([\w.\-]+)", program, re.M)
    where = {entry[1]: OUTSIDE} if entry else {}
    waiting = list(where)
    while waiting:
        computation = waiting.pop()
        for opcode, name in inside[computation]:
            place = where[computation]
            if opcode == "conditional":
                place = ATTENTION
            elif opcode == "while" and place == OUTSIDE:
                place = LAYER
            where[name] = place
            waiting.append(name)
    return {
        name: _part(name, op, where[op.computation])
        for name, op in known.items()
        if op.computation in where and op.opcode not in CONTAINERS
    }


def _part(name: str, op: Operation, place: str) -> str:
    if place == ATTENTION:
        return ATTENTION
    if place == OUTSIDE:
        return FILLS if "wrapped_broadcast" in name else OUTSIDE
    if " dot(" in op.text or op.opcode == "dot":
        return PRODUCTS
    if "dynamic-update-slice" in op.text:
        return STACKS
    return COPIES if "copy" in name or "transpose" in name else LAYER


def seconds_by_part(program: str, durations: Mapping[str, Sequence[float]], steps: int) -> dict[str, float]:
    """Seconds of a step in every part.

    Args:
      program: the compiled step's text.
      durations: seconds of every run of every event of a trace, by name; what is no operation is left out.
      steps: that were traced.
    """
    parts = parts_of(program)
    seconds = dict.fromkeys(PARTS, 0.0)
    for name, many in durations.items():
        if name in parts:
            seconds[parts[name]] += statistics.median(many) * len(many) / steps
    return seconds


def main() -> None:
    """Traces a few steps of each type, and prints one table and a JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", required=True, help="comparisons with prompt, chosen, rejected, or HH-RLHF's own")
    parser.add_argument("--steps", type=int, default=3, help="traced steps")
    parser.add_argument("--dtypes", default=",".join(beside.DTYPES))
    parser.add_argument("--remat", default="dots_and_attention", help="what the backward pass keeps")
    given = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: beside.THREADS])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        beside.write_checkpoint(Path(folder))
        for dtype in given.dtypes.split(","):
            found[dtype] = traced(given, dtype, Path(folder))
            print(f"{dtype}: {found[dtype]}", flush=True)
    names = [*PARTS, "products alone"]
    cells = [[name, *(f"{of['shares'][name]:.3f}" for of in found.values())] for name in names]
    print(markdown(["share of the operations' seconds", *found], cells))
    print(json.dumps({"train_parts": found, "steps": given.steps, "threads": beside.THREADS}))


def traced(given, dtype: str, folder: Path) -> dict:
    """Seconds of a step (median) and of its operations together, and the share of every part of those."""
    import jax
    import jax.numpy as jnp

    from experiments.benchmarks.matmul_rate import jax_pass, layer_matrices, products
    from experiments.benchmarks.our_step import prepare

    sequences = beside.sequences_of(given.pairs, folder)
    sizes = {"rows": beside.ROWS, "length": beside.LENGTH, "rate": beside.RATE, "remat": given.remat}
    program, state, batches, _ = prepare(sequences, folder, dtype, 0, **sizes)
    weights, times, alone = jnp.ones(1), [], []
    compiled = program.lower().compile()
    multiply = jax_pass(products(layer_matrices(program.cfg), beside.ROWS * beside.LENGTH), dtype)

    def step(state):
        state, metrics = compiled(state, program.place(next(batches)), weights)
        metrics["pairs"].block_until_ready()
        return state

    state = step(state)
    with tempfile.TemporaryDirectory() as traces:
        with jax.profiler.trace(traces):
            for _ in range(given.steps):
                began = time.perf_counter()
                state = step(state)
                times.append(time.perf_counter() - began)
                alone.append(multiply())
        durations = _durations(Path(traces))
    batches.close()
    seconds = seconds_by_part(compiled.as_text(), durations, given.steps)
    seconds["products alone"] = statistics.median(alone) * program.cfg.layers
    total = sum(seconds[part] for part in PARTS)
    return {
        "step_seconds": round(statistics.median(times), 3),
        "operations_seconds": round(total, 3),
        "shares": {name: round(value / total, 4) for name, value in seconds.items()},
    }


def _durations(folder: Path) -> dict[str, list[float]]:
    """Seconds of every run of every event of a trace, by name."""
    [path] = glob.glob(str(folder / "**" / "*.trace.json.gz"), recursive=True)
    with gzip.open(path, "rb") as file:
        trace = decode_json(file.read(), dict[str, object], where="the profiler's trace", fix="use another jax")
    found = collections.defaultdict(list)
    for event in trace["traceEvents"]:
        if event.get("ph") == "X":
            found[event["name"]].append(event["dur"] / 1e6)
    return found


if __name__ == "__main__":
    with one_line_errors():
        main()
