"""Every field of every settings object has a reader besides its check: none is accepted and then forgotten."""

import ast
import dataclasses
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import experiments.studies
from encore_jax import recipes
from encore_jax.settings import Settings

ROOT = Path(__file__).parents[2]
LIBRARY = ("train.settings", "train.gating", "evaluation.methods", "parallel.mesh", "judge.settings", "http.settings")
"""Modules of the library that declare settings; a new one is found because a configuration imports it."""


def settings_classes() -> list[type[Settings]]:
    for name in LIBRARY:
        importlib.import_module(f"encore_jax.{name}")
    for package in (recipes, experiments.studies):
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith("config"):
                importlib.import_module(f"{package.__name__}.{module.name}")
    waiting, found = [Settings], []
    while waiting:
        subclasses = [kind for kind in waiting.pop().__subclasses__() if kind not in found]
        found += subclasses
        waiting += subclasses
    return [kind for kind in found if kind.__module__.startswith(("encore_jax", "experiments"))]


READ_ELSEWHERE = {
    "save_every": ("encore_jax/train/loop.py", "program.settings.save_every"),
    "concurrency": ("encore_jax/judge/server.py", "self._settings.concurrency"),
    "fsdp": ("encore_jax/parallel/mesh.py", "getattr(settings, axis)"),
    "expert": ("encore_jax/parallel/mesh.py", "getattr(settings, axis)"),
    "tensor": ("encore_jax/parallel/mesh.py", "getattr(settings, axis)"),
}
"""Where a field is read in a way that is not recognised below: file, and what stands there."""

CLASSES = settings_classes()
HOLDERS = defaultdict(set)
"""The names of fields that hold settings of a class, by class: ``compose`` holds CompositionSettings."""
for _kind in CLASSES:
    for _field in dataclasses.fields(_kind):
        if isinstance(_field.type, type) and issubclass(_field.type, Settings):
            HOLDERS[_field.type].add(_field.name)


def is_of(kind: type, name: str) -> bool:
    """Whether a variable annotated with a class of this name may hold such settings: it, a base or a subclass."""
    return any(name == other.__name__ and (issubclass(kind, other) or issubclass(other, kind)) for other in CLASSES)


def reads(tree: ast.AST) -> Iterator[tuple[str, str, set[str]]]:
    """Every ``base.field`` that is read outside of a check: the base's last name, the field, the base's annotations."""
    for function in [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.Module))]:
        name = getattr(function, "name", "")
        if name == "check" or name.startswith(("check_", "_check")):
            continue
        annotations, alias = {}, {}
        for node in ast.walk(function) if not isinstance(function, ast.Module) else ():
            if isinstance(node, ast.arg) and node.annotation:
                annotations[node.arg] = {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
            if isinstance(node, ast.Assign):
                for target, value in pairs(node):
                    if isinstance(target, ast.Name) and isinstance(value, ast.Attribute):
                        alias[target.id] = value.attr
        for node in own(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                base = node.value
                last = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                yield alias.get(last, last), node.attr, annotations.get(last, set())


def pairs(node: ast.Assign):
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, those of functions within it included, but not those of its checks."""
    for child in ast.iter_child_nodes(function):
        name = getattr(child, "name", "")
        if not (isinstance(child, ast.FunctionDef) and (name == "check" or name.startswith(("check_", "_check")))):
            yield child
            yield from own(child)


def all_reads() -> set[tuple[str, str, frozenset[str]]]:
    paths = [path for folder in ("encore_jax", "experiments") for path in (ROOT / folder).rglob("*.py")]
    paths = [path for path in paths if "benchmarks" not in path.parts and "configs" not in path.parts]
    return {
        (base, name, frozenset(kinds)) for path in paths for base, name, kinds in reads(ast.parse(path.read_text()))
    }


def unread(kind: type[Settings], found, fields=None) -> list[str]:
    """Fields of a class that nothing reads."""
    holders = {
        name for other in CLASSES if issubclass(kind, other) or issubclass(other, kind) for name in HOLDERS[other]
    }
    bases = holders | ({"self"} if holders else {"config", "self"})
    names = fields or [field.name for field in dataclasses.fields(kind)]
    readers = {name for base, name, kinds in found if base in bases or any(is_of(kind, other) for other in kinds)}
    return [name for name in names if name not in readers and name not in READ_ELSEWHERE]


@pytest.fixture(scope="module")
def found():
    return all_reads()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_is_read(kind, found):
    assert unread(kind, found) == []


@pytest.mark.parametrize("field", READ_ELSEWHERE)
def test_what_is_read_elsewhere_is_still_read_there(field):
    path, text = READ_ELSEWHERE[field]
    assert text in (ROOT / path).read_text()


def test_a_field_that_nothing_reads_is_noticed(found):
    for kind in CLASSES:
        assert unread(kind, found, ["a_field_nobody_reads"]) == ["a_field_nobody_reads"]
