"""Which test calls which function: functions of the mutated modules write their names down when they are called."""

from __future__ import annotations

import ast

RECORDER = '''"""Writes down which test called which function, each pair once a process."""
import os

SEEN = set()


def called(name):
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if test and (test, name) not in SEEN and "MUTANTS_CALLS" in os.environ:
        SEEN.add((test, name))
        with open(os.environ["MUTANTS_CALLS"], "a") as file:
            file.write(test + "\\t" + name + "\\n")
'''
"""The module `encore_jax/_calls.py` of an instrumented checkout; child processes of a test write, too."""


def instrumented(source: str, path: str) -> str:
    """The module's source, whose functions begin by writing down `path::name`.

    >>> print(instrumented("def f(x):\\n    return x", "a.py").splitlines()[-2])
        _called_('a.py::f')
    """
    tree = ast.parse(source)
    for name, function in _functions(tree):
        call = ast.parse(f"_called_({f'{path}::{name}'!r})").body[0]
        function.body.insert(1 if ast.get_docstring(function) is not None else 0, call)
    after = [isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body]
    place = after.index(True) + 1 if any(after) else int(ast.get_docstring(tree) is not None)
    tree.body.insert(place, ast.parse("from encore_jax._calls import called as _called_").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def function_at(source: str, line: int) -> str | None:
    """The qualified name of the innermost function around a line; None at module or class level.

    >>> function_at("class A:\\n    x = 1\\n    def f(self):\\n        return 2", 4)
    'A.f'
    """
    around = [(f.lineno, name) for name, f in _functions(ast.parse(source)) if f.lineno <= line <= f.end_lineno]
    return max(around)[1] if around else None


def _functions(tree: ast.AST, prefix: str = "") -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [(prefix + node.name, node), *_functions(node, f"{prefix}{node.name}.")]
        elif isinstance(node, ast.ClassDef):
            found += _functions(node, f"{prefix}{node.name}.")
        else:
            found += _functions(node, prefix)
    return found
