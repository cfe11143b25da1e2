"""The documentation says what is there: commands, files, flags, examples; and asks nobody anything."""

import doctest
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = {page.relative_to(ROOT / "docs").as_posix(): page.read_text() for page in PAGES}


def everywhere(pattern: str) -> set[tuple[str, str]]:
    return {(name, found) for name, text in TEXT.items() for found in re.findall(pattern, text)}


def test_commands_exist():
    commands = everywhere(r"python -m ([\w.]+)")
    assert len(commands) > 5
    assert not [where for where in commands if not find_spec(where[1])]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not [where for where in everywhere(r"\bmake ([a-z][\w-]+)") if where[1] not in targets]


def test_files_exist():
    files = everywhere(r"\b((?:experiments|examples|tpu_scripts)/[\w./-]+\.(?:py|sh|md))")
    assert len(files) > 5
    assert not [where for where in files if not (ROOT / where[1]).is_file()]


def test_names_exist():
    imports = everywhere(r"^from ([\w.]+ import [\w, ]+)$") | everywhere(r"\nfrom ([\w.]+ import [\w, ]+)\n")
    assert imports
    for where, found in imports:
        module, names = found.split(" import ")
        loaded = __import__(module, fromlist=["*"])
        for name in names.split(", "):
            assert hasattr(loaded, name), (where, found)


def test_flags_of_the_server_and_the_scorer_exist():
    for page, source in (
        ("serving.md", "encore_jax/interop/serve/__main__.py"),
        ("scoring.md", "experiments/score.py"),
    ):
        code = (ROOT / source).read_text()
        for flag in set(re.findall(r"`--(\w+)", TEXT[page])):
            assert re.search(rf'"(--)?{flag}"', code), (page, flag)


@pytest.mark.parametrize("name", sorted(name for name, text in TEXT.items() if ">>> " in text))
def test_examples_run(name):
    failed, tried = doctest.testfile(str(ROOT / "docs" / name), module_relative=False, encoding="utf-8")
    assert tried and not failed
