"""A default or a constant that changes, changes results without a word: every such change is to be seen as one."""

import json
from pathlib import Path

import pytest

from tests.defaults import GOLDEN, ROOT, defaults

KNOWN = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("module", KNOWN)
def test_defaults_and_constants_are_those_that_were_written_down(module):
    """New names need not be known, and old ones may go; a known one keeps its value."""
    path = Path(ROOT / module)
    if not path.is_file():
        pytest.skip(f"{module} is gone: run python tests/defaults.py")
    found = defaults(path.read_text())
    known = {name: value for name, value in KNOWN[module].items() if name in found}
    changed = {name: (value, found[name]) for name, value in known.items() if found[name] != value}
    assert not changed, f"{module}: {changed} (before, now); if that is meant, run python tests/defaults.py"
