"""Every module can be imported, warnings being errors."""

import importlib
import pkgutil

import pytest

import encore_jax

ABSENT = {"torch", "trl", "tunix", "libtpu", "aiohttp", "starlette", "uvicorn", "prometheus_client", "h11"}
"""What an extra brings, and a core installation lacks."""
MODULES = [module.name for module in pkgutil.walk_packages(encore_jax.__path__, "encore_jax.")]


def test_every_module_can_be_imported():
    assert len(MODULES) > 200
    for name in MODULES:
        if name.endswith("__main__"):
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in ABSENT:
                raise
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("encore_jax.nothing")
