"""Small mistakes that can be made in a Python file, one at a time: Cosmic Ray's operators and a few of our own."""

from __future__ import annotations

import ast
import functools
from typing import NamedTuple

from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import Keyword, Name, Number, PythonNode

CORE = [
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Add")
    ),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_Gt", "Gt_Lt", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("Delete_USub", "Delete_Not", "Delete_Invert")),
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ZeroIterationForLoop",
]
"""Of Cosmic Ray's operators those whose mistakes are hardest to notice; the others mostly end in an exception."""

TWINS = [("min", "max"), ("argmin", "argmax"), ("any", "all"), ("sum", "mean"), ("floor", "ceil"), ("zeros", "ones")]
"""Names that are easily taken for each other, both ways."""


UNSEEN_KEYWORDS = {
    "indent",
    "separators",
    "flush",
    "encoding",
    "exist_ok",
    "parents",
    "strict",
    "precision",
    "unroll",
    "optimize",
    "batch_size",
    "buffering",
    "prefetch_buffer_size",
}
"""Keyword arguments without which right code gives the same results on a CPU."""


class OwnOperator(Operator):
    """An operator of this project: a node has one mutation or none."""

    def mutation_positions(self, node):
        if self.applies(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        return self.changed(node)

    @classmethod
    def examples(cls):
        return ()


class DeleteStatement(OwnOperator):
    """A call whose result nobody reads, or an assignment to an attribute or item, is forgotten."""

    def applies(self, node) -> bool:
        if node.parent is None or node.parent.type != "simple_stmt" or node.parent.children[0] is not node:
            return False
        if node.type == "expr_stmt":
            target = node.children[0]
            return target.type in ("atom_expr", "power") or _is_augmented(node)
        return node.type in ("atom_expr", "power")

    def changed(self, node):
        leaf = node.get_first_leaf()
        return Keyword("pass", leaf.start_pos, leaf.prefix)


class DropKeyword(OwnOperator):
    """One keyword argument of a call is forgotten."""

    def applies(self, node) -> bool:
        if node.type not in ("arglist", "trailer"):
            return False
        return any(_is_keyword(child) for child in node.children)

    def mutation_positions(self, node):
        if self.applies(node):
            for child in node.children:
                if _is_keyword(child):
                    yield child.start_pos, child.end_pos

    def mutate(self, node, index):
        place = [i for i, child in enumerate(node.children) if _is_keyword(child)][index]
        dropped = slice(place, place + 2 if node.type == "arglist" else place + 1)
        return PythonNode(node.type, node.children[: dropped.start] + node.children[dropped.stop :])


class ReplaceTwin(OwnOperator):
    """`min` for `max`, `any` for `all`, ... in calls."""

    PAIRS = dict(TWINS) | {b: a for a, b in TWINS}

    def applies(self, node) -> bool:
        following = node.get_next_leaf() if node.type == "name" else None
        return node.type == "name" and node.value in self.PAIRS and following is not None and following.value == "("

    def changed(self, node):
        return Name(self.PAIRS[node.value], node.start_pos, node.prefix)


class ShiftNumber(OwnOperator):
    """A whole number is one larger; a fraction is half as large again."""

    def applies(self, node) -> bool:
        return node.type == "number" and not node.value.endswith(("j", "J"))

    def changed(self, node):
        value = ast.literal_eval(node.value)
        shifted = value * 1.5 if isinstance(value, float) and value else value + 1
        return Number(repr(shifted), node.start_pos, node.prefix)


class NeverTaken(OwnOperator):
    """An `if` without `else` whose body is one statement is never taken."""

    def applies(self, node) -> bool:
        return node.type == "if_stmt" and "else" not in [getattr(child, "value", "") for child in node.children]

    def mutation_positions(self, node):
        if self.applies(node):
            yield node.children[1].start_pos, node.children[1].end_pos

    def changed(self, node):
        node.children[1] = Keyword("False", node.children[1].start_pos, " ")
        return node


OWN = {kind.__name__: kind for kind in (DeleteStatement, DropKeyword, ReplaceTwin, ShiftNumber, NeverTaken)}


class Mutation(NamedTuple):
    """One mistake: an operator's n-th place in a file.

    Attributes:
      path: of the file, relative to the repository.
      line: where it is, from 1.
      operator: name of the operator.
      occurrence: which of the operator's places, from 0.
    """

    path: str
    line: int
    operator: str
    occurrence: int


def mutations_of(path: str, source: str) -> list[Mutation]:
    """All mistakes that can be made in a file's code, but for annotations, docstrings and the words of messages."""
    quiet = _quiet_places(source)
    places = _Places()
    places.walk(get_ast(source))
    return [
        Mutation(path, start[0], name, occurrence)
        for name, starts in places.by_operator.items()
        for occurrence, start in enumerate(starts)
        if not any(first <= start < last for first, last in quiet)
    ]


def mutate(mutation: Mutation, source: str) -> str | None:
    """The file's text with this mistake in it; None if it would be no Python, or the same program."""
    changed = mutate_code(source, _operator(mutation.operator), mutation.occurrence)
    try:
        before, after = ast.parse(source), ast.parse(changed)
    except SyntaxError:
        return None
    if mutation.operator.startswith("ReplaceBinaryOperator") and _binary_operators(before) == _binary_operators(after):
        return None  # Cosmic Ray takes the star of `def f(*, a)` for a product
    return changed if ast.dump(before) != ast.dump(after) else None


def _binary_operators(tree: ast.AST) -> list[str]:
    return [type(node.op).__name__ for node in ast.walk(tree) if isinstance(node, ast.BinOp | ast.AugAssign)]


class _Places(Visitor):
    """Collects where every operator applies, in the order in which `mutate_code` counts."""

    def __init__(self):
        self.by_operator = {name: [] for name in (*CORE, *OWN)}

    def visit(self, node):
        for name, starts in self.by_operator.items():
            starts += [start for start, _ in _operator(name).mutation_positions(node)]
        return node


@functools.cache
def _operator(name: str) -> Operator:
    return OWN[name]() if name in OWN else get_operator(f"core/{name}")()


def _is_keyword(node) -> bool:
    named = node.type == "argument" and getattr(node.children[1], "value", "") == "="
    return named and node.children[0].value not in UNSEEN_KEYWORDS


def _is_augmented(node) -> bool:
    return (
        node.children[1].type == "operator" and node.children[1].value.endswith("=") and node.children[1].value != "="
    )


def _quiet_places(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a change is none: annotations, docstrings, arguments of an exception, logging and progress."""
    places = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            places += [argument.annotation for argument in every if argument is not None and argument.annotation]
            places += [node.returns] if node.returns else []
            places += [argument for argument in every if argument is not None]
        elif isinstance(node, ast.AnnAssign):
            places.append(node.annotation)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            places.append(node.exc)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("logging.", "functools.", "jax.jit")):
            places.append(node)
        elif isinstance(node, ast.keyword) and node.arg in UNSEEN_KEYWORDS:
            places.append(node.value)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            places.append(node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and _is_type_alias(node):
            places.append(node.value)
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in places]


def _is_type_alias(node: ast.Assign) -> bool:
    return isinstance(node.value.op, ast.BitOr) and node.col_offset == 0
