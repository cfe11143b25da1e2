"""The version of a stage's code: a stage whose function changed runs again, or its results would be of the old one.

It is a hash over the source of the function and of every definition of this package that it uses, directly or through
others: functions, classes, constants. Comments, docstrings and the order of definitions do not count, and neither does
what it never uses: better words in a report train nothing again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from encore_jax.errors import InputError

PACKAGES = ("encore_jax", "experiments")
"""Whose code counts; versions of other packages are written beside the results."""


_known: dict[Place, tuple[tuple, str]] = {}  # of a function: the files that count, as they were, and the hash


class Place(NamedTuple):
    """A definition: a module and a name in it; "" is the module itself."""

    module: str
    name: str


class Source(NamedTuple):
    """A module's top level.

    Attributes:
      defined: statements that define a name, by the name.
      imported: what a name was imported from.
    """

    defined: dict[str, list[ast.stmt]]
    imported: dict[str, Place]


def code_digest(function: Callable) -> str:
    """SHA-256 of what a function's results depend on in this package's code.

    Args:
      function: defined at the top level of a module.

    Raises:
      TypeError: it is defined inside another function, or by no statement of its module.
    """
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    if not name or "." in name:
        raise TypeError(f"{function!r} is no function of a module: a stage must be one, so that its code has a version")
    start = Place(module, name)
    files, digest = _known.get(start, ((), ""))
    if not files or any(_key(module) != key for module, key in files):
        places = sorted(used_by(start))
        if not places:
            raise TypeError(f"module {module} does not define {name}")
        texts = (f"{place.module}:{place.name}\n{text_of(place)}" for place in places)
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        _known[start] = tuple((module, _key(module)) for module in sorted({place.module for place in places})), digest
    return digest


def used_by(start: Place) -> set[Place]:
    """The definitions that one uses, itself included."""
    found: set[Place] = set()
    waiting = [start]
    while waiting:
        place = definition_of(waiting.pop(), start.module.partition(".")[0])
        if place is not None and place not in found:
            found.add(place)
            waiting += _uses(place, _key(place.module))
    return found


def definition_of(place: Place, own: str) -> Place | None:
    """Where a name is defined, through the modules that only import it; None if that is no code of this package."""
    seen = set()
    while place not in seen:
        seen.add(place)
        if place.module.partition(".")[0] not in (*PACKAGES, own) or not (key := _key(place.module)):
            return None
        source = _source(place.module, key)
        if place.name in source.defined:
            return place
        if place.name not in source.imported:
            return None
        place = source.imported[place.name]
    return None


def text_of(place: Place) -> str:
    """The source of a definition, without docstrings and comments."""
    return _text(place, _key(place.module))


def _key(module: str) -> tuple[str, int, int] | None:
    """A module's file, its time and its size; None if it is no Python file."""
    path = _file_of(module)
    if path is None:
        return None
    at = os.stat(path)
    return path, at.st_mtime_ns, at.st_size


@functools.cache
def _file_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError, InputError):
        return None
    origin = spec.origin if spec else None
    return origin if origin and origin.endswith(".py") and os.path.exists(origin) else None


@functools.lru_cache(maxsize=2048)
def _source(module: str, key: tuple[str, int, int]) -> Source:
    with open(key[0], encoding="utf-8") as file:
        tree = _without_docstrings(ast.parse(file.read()))
    defined: dict[str, list[ast.stmt]] = {}
    imported: dict[str, Place] = {}
    package = module if os.path.basename(key[0]) == "__init__.py" else module.rpartition(".")[0]
    for statement in _top_level(tree.body):
        imported |= _imports(statement, package) | _on_first_use(statement)
        for name in _defines(statement):
            defined.setdefault(name, []).append(statement)
    return Source(defined, imported)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and any(map(_is_text, body)):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]
    return tree


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under ``if`` and ``try`` among them."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for field in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)


def _defines(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _imports(statement: ast.AST, package: str) -> dict[str, Place]:
    """The names that an import binds."""
    if isinstance(statement, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: Place(
                alias.name if alias.asname else alias.name.partition(".")[0], ""
            )
            for alias in statement.names
        }
    if not isinstance(statement, ast.ImportFrom):
        return {}
    base = statement.module or ""
    if statement.level:
        above = package.split(".")[: len(package.split(".")) - statement.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    return {alias.asname or alias.name: Place(base, alias.name) for alias in statement.names}


def _on_first_use(statement: ast.stmt) -> dict[str, Place]:
    """The names of a package's table ``_HOME``, see `encore_jax.lazy`."""
    if not isinstance(statement, ast.Assign) or "_HOME" not in _defines(statement):
        return {}
    home = ast.literal_eval(statement.value)
    return {name: Place(module, name) for module, names in home.items() for name in names}


@functools.lru_cache(maxsize=8192)
def _uses(place: Place, key: tuple[str, int, int]) -> tuple[Place, ...]:
    """What one definition mentions: names of its module, imported ones, attributes of imported modules, and definitions
    by their dotted paths as text, as in tables of what is loaded when it is used."""
    source, package = _source(place.module, key), place.module.rpartition(".")[0]
    package = place.module if os.path.basename(key[0]) == "__init__.py" else package
    found = set()
    for statement in source.defined[place.name]:
        names = source.imported | {
            name: to for node in ast.walk(statement) for name, to in _imports(node, package).items()
        }
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                found.add(names.get(node.id, Place(place.module, node.id)))
            elif isinstance(node, ast.Constant) and _is_path(node.value):
                found.add(Place(*node.value.rsplit(".", 1)))
            elif isinstance(node, ast.Attribute) and (chain := _chain(node)) and chain[0] in names:
                found |= set(_along(names[chain[0]], chain[1:]))
    return tuple(sorted(found))


def _chain(node: ast.expr) -> list[str]:
    """The names of ``a.b.c``; nothing if it does not begin with a name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _along(place: Place, names: list[str]) -> Iterator[Place]:
    """The definitions that ``module.module.name`` may mean."""
    module = place.module + (f".{place.name}" if place.name else "")
    for name in names:
        yield Place(module, name)
        module = f"{module}.{name}"


@functools.lru_cache(maxsize=8192)
def _text(place: Place, key: tuple[str, int, int]) -> str:
    return "\n".join(ast.unparse(statement) for statement in _source(place.module, key).defined[place.name])


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith(tuple(f"{name}." for name in PACKAGES)) and value.isascii()


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
