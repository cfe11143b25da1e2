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
