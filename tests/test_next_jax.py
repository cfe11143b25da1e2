"""`make test-next`: the newest jax on a newer Python; what it installs, and where it is skipped."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.newer_python import VERSIONS, candidates, is_usable

ROOT = Path(__file__).parents[1]
NEWEST = {"jax", "jaxlib", "flax"}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {package.lower().replace("-", "_"): version for package, _, version in found}


def test_its_constraints_are_the_usual_ones_but_for_jax_and_flax():
    usual, newest = pins("constraints.txt"), pins("constraints-next.txt")
    assert {name for name in newest if newest[name] != usual.get(name)} == NEWEST
    core = re.search(r"^CORE = \[(.*?)^\]", (ROOT / "setup.py").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    needed = {name.lower().replace("-", "_") for name in re.findall(r'"([\w-]+)', core[1])}
    assert needed <= newest.keys()


def test_every_test_it_names_is_there():
    names = re.search(r"^NEXT := (.*?)\n\n", (ROOT / "Makefile").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for name in names[1].replace("\\\n", " ").split():
        path, _, test = name.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test.partition('[')[0]}(" in text, name


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_without_a_newer_python_it_is_skipped_and_says_why():
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-s", "test-next", "NEXT_PYTHON="]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "test-next is skipped: no Python 3.12 or 3.13 is on this machine, and the newest jax for Python 3.11 is "
        f"{pins('constraints.txt')['jax']}, which make test takes\n"
    )


def test_programs_that_do_not_start_are_passed_over(tmp_path):
    for version in VERSIONS:
        for folder in (tmp_path / "bin", tmp_path / ".pyenv/versions" / f"{version}.1" / "bin"):
            folder.mkdir(parents=True, exist_ok=True)
            program = folder / f"python{version}"
            program.write_text("#!/bin/sh\nexit 127\n")
            program.chmod(0o755)
    found = list(candidates(str(tmp_path / "bin"), tmp_path))
    assert len(found) == 2 * len(VERSIONS) and not any(map(is_usable, found))
    assert not is_usable(str(tmp_path / "missing"))
    assert is_usable(sys.executable) == (f"{sys.version_info[0]}.{sys.version_info[1]}" in VERSIONS)
