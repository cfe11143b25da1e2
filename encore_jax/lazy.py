"""Names of a package that are imported when they are first used, so that nobody loads what he does not use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def on_first_use(
    package: str, home: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """A package's ``__all__``, ``__getattr__`` and ``__dir__`` (PEP 562).

    `encore_jax.recipes.code_version` reads such tables, which must be literals named ``_HOME``.

    Args:
      package: its ``__name__``.
      home: the names by the modules that define them.

    >>> __all__, get, _ = on_first_use("encore_jax.rules", {"encore_jax.rules.rule": ("Rule",)})
    >>> __all__, get("Rule").__name__
    (['Rule'], 'Rule')
    """
    module_of = {name: module for module, names in home.items() for name in names}
    public = sorted(module_of)

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(module_of[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return public, get, lambda: sorted({*vars(sys.modules[package]), *public})


class Deferred:
    """A function or class of a module that is imported when it is called or loaded, and not before.

    Args:
      module: that defines it.
      name: in it.

    >>> digits = Deferred("encore_jax.formats", "fixed")
    >>> digits, digits(0.5)
    (encore_jax.formats:fixed, '0.50')
    """

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def load(self) -> Callable:
        """The function or class itself."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, *args, **kwargs):
        """Calls it."""
        return self.load()(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{self.module}:{self.name}"


def deferred(package: str, home: Mapping[str, Sequence[str]]) -> tuple[list[str], Callable[[str], Deferred]]:
    """A module's ``__all__`` and ``__getattr__``, whose values are `Deferred`: their modules are imported on use.

    Args:
      package: its ``__name__``.
      home: the names by the modules that define them, a literal named ``_HOME``; see `on_first_use`.
    """
    functions = {name: Deferred(module, name) for module, names in home.items() for name in names}

    def get(name: str) -> Deferred:
        if name not in functions:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return functions[name]

    return sorted(functions), get
