"""A stage whose function changed runs again; one whose neighbours changed does not."""

import importlib
import sys

import pytest

from encore_jax.data import FORMATS
from encore_jax.recipes.code_version import Place, code_digest, used_by

TOP = '''
"""A module."""
from {name}.helper import helped, FACTOR as factor
from {name} import other
from {name}.room import on_demand
import {name}.third as third

LEVELS = {{"one": 1}}

class Made:
    """What is made."""
    size = LEVELS["one"]

def used(x):
    """Doubles."""
    return helped(x) * factor  # twice

def stage(x) -> Made:
    """Makes it."""
    from {name}.late import lately
    return used(x) + other.told(x) + third.third(x) + lately(x) + on_demand(x)

def unused(x):
    return 7
'''
FILES = {
    "__init__": "",
    "top": TOP,
    "helper": "FACTOR = 2\ndef helped(x):\n    return deeper(x)\ndef deeper(x):\n    return x\n"
    "def beside(x):\n    return x\n",
    "other": "from {name}.helper import beside\ndef told(x):\n    return beside(x)\ndef silent(x):\n    return 1\n",
    "room": "from encore_jax.lazy import on_first_use\n"
    "_HOME = {{'{name}.shelf': ('on_demand', 'untouched')}}\n"
    "__all__, __getattr__, __dir__ = on_first_use(__name__, _HOME)\n",
    "shelf": "def on_demand(x):\n    return 6\ndef untouched(x):\n    return 1\n",
    "third": "def third(x):\n    return 3\n",
    "late": "try:\n    def lately(x):\n        return 4\nexcept ImportError:\n    pass\n",
}
CHANGED = {
    "its own body": ("top", "return used(x) +", "return used(x) -"),
    "a function beside it": ("top", "helped(x) * factor", "helped(x) + factor"),
    "a constant of its module": ("top", '"one": 1', '"one": 2'),
    "a class that it is declared to return": ("top", 'LEVELS["one"]', 'LEVELS["one"] + 1'),
    "a constant of another module": ("helper", "FACTOR = 2", "FACTOR = 3"),
    "a function two steps away": ("helper", "def deeper(x):\n    return x", "def deeper(x):\n    return -x"),
    "an attribute of a module": ("other", "return beside(x)", "return -beside(x)"),
    "what that uses": ("helper", "def beside(x):\n    return x", "def beside(x):\n    return -x"),
    "a module under another name": ("third", "return 3", "return 33"),
    "a function that its package imports when it is first used": ("shelf", "return 6", "return 66"),
    "a function imported when it is called, under try": ("late", "return 4", "return 5"),
}
SAME = {
    "a docstring": ("top", "Doubles.", "Doubles it."),
    "a module's docstring": ("top", '"""A module."""', '"""Another one."""'),
    "a comment": ("top", "# twice", "# two times"),
    "a function that it does not use": ("top", "return 7", "return 8"),
    "one that a package would import": ("shelf", "return 1", "return 2"),
    "one of another module": ("other", "return 1", "return 2"),
}


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """A package on disk, and the digest of its stage after a text of one of its files is replaced by another one."""
    name = f"made_{abs(hash(request.node.name)) % 10**9}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / name).mkdir()
    for stem, text in FILES.items():
        (tmp_path / name / f"{stem}.py").write_text(text.format(name=name))
    importlib.invalidate_caches()

    def digest(stem="top", before="", after=""):
        path = tmp_path / name / f"{stem}.py"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after) if before else text)
        return code_digest(importlib.import_module(f"{name}.top").stage)

    yield digest
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_of_what_a_stage_uses_is_another_version(package, what):
    assert package() != package(*CHANGED[what])


@pytest.mark.parametrize("what", SAME)
def test_a_change_of_words_or_of_what_it_does_not_use_is_none(package, what):
    assert package() == package(*SAME[what])


def test_methods_constants_and_lazy_imports_of_the_package_are_found():
    from encore_jax.recipes.stages.train import train

    names = {f"{place.module}.{place.name}" for place in used_by(Place(train.__module__, "train"))}
    assert names >= {
        "encore_jax.train.ridge.fit_ridge", "encore_jax.model.decoder.Backbone", "encore_jax.composition.ties.is_tie",
        "encore_jax.train.settings.ALPHAS", "encore_jax.checkpoints.gguf_file.GGUFFile",
        "encore_jax.settings.no_result",
    }  # fmt: skip
    assert not any(".report" in name or ".judge" in name for name in names)


def test_readers_that_are_loaded_by_the_name_of_their_format_are_found():
    found = used_by(Place("encore_jax.recipes.stages.ingest", "ingest"))
    assert {Place(*path.rsplit(".", 1)) for path in FORMATS.values()} <= found


@pytest.mark.parametrize("function", [lambda x: x, str.upper, 3], ids=["lambda", "method", "number"])
def test_only_functions_of_modules_have_a_version(function):
    with pytest.raises(TypeError, match="no function of a module|does not define"):
        code_digest(function)
