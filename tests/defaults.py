"""Every number and truth value that a function takes unless told otherwise, and every constant, by name.

    python tests/defaults.py

writes them down in `tests/goldens/defaults.json`: look at the difference before committing it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "goldens" / "defaults.json"
ROOMS = tuple(f"encore_jax/{room}" for room in (
    "composition", "train", "judge", "evaluation", "report", "serve", "reward", "text", "checkpoints",
    "data", "model", "parallel", "recipes", "cli", "http",
)) + ("experiments",)  # fmt: skip


def modules() -> list[Path]:
    """Whose defaults are written down; configurations have goldens of their own."""
    every = sorted((ROOT / "encore_jax").glob("*.py"))
    every += [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in every if not {"configs", "benchmarks"} & set(path.parts)]


def defaults(source: str) -> dict[str, object]:
    """Name -> value, of module, class and function.

    >>> defaults("A, B = 1 << 2, 'x'\\ndef f(x, y=(1, -0.5), *, z=True, w=None): pass")
    {'A': 4, 'f.y': [1, -0.5], 'f.z': True}
    """
    found = {}
    for name, value in _named(ast.parse(source), ""):
        number = _number(value)
        if number is not None:
            found[name] = number
    return found


def _named(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments, name = child.args, f"{prefix}{child.name}."
            placed = [*arguments.posonlyargs, *arguments.args]
            for argument, value in zip(
                placed[len(placed) - len(arguments.defaults) :], arguments.defaults, strict=True
            ):
                yield name + argument.arg, value
            for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
                if value is not None:
                    yield name + argument.arg, value
            yield from ((n, v) for n, v in _named(child, name) if n.count(".") > name.count("."))
        elif isinstance(child, ast.ClassDef):
            yield from _named(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and child.value is not None:
            yield prefix + child.target.id, child.value
        elif isinstance(child, ast.Assign):
            for target in child.targets:
                yield from _pairs(prefix, target, child.value)


def _pairs(prefix: str, target: ast.AST, value: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(target, ast.Name):
        yield prefix + target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for one, other in zip(target.elts, value.elts, strict=True):
            yield from _pairs(prefix, one, other)


def _number(node: ast.AST) -> object:
    """A number, a truth value, or a list of them; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        return node.value
    if isinstance(node, ast.UnaryOp | ast.BinOp):
        if all(
            isinstance(n, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop) for n in ast.walk(node)
        ):
            value = eval(compile(ast.Expression(node), "default", "eval"), {})
            return value if isinstance(value, int | float) else None
    if isinstance(node, ast.Tuple | ast.List) and node.elts:
        values = [_number(element) for element in node.elts]
        return None if None in values else values
    if isinstance(node, ast.Dict) and node.values and all(isinstance(key, ast.Constant) for key in node.keys):
        values = {str(key.value): _number(value) for key, value in zip(node.keys, node.values, strict=True)}
        return None if None in values.values() else values
    return None


if __name__ == "__main__":
    found = {str(path.relative_to(ROOT)): defaults(path.read_text()) for path in modules()}
    GOLDEN.write_text(json.dumps({name: values for name, values in found.items() if values}, indent=1) + "\n")
