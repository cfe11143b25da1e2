"""Writes the golden texts of the shipped configurations anew: look at the difference before committing it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.experiments.test_config import CONFIGS, resolved

if __name__ == "__main__":
    folder = Path(__file__).parent / "goldens"
    folder.mkdir(exist_ok=True)
    for name in CONFIGS:
        (folder / f"{name}.json").write_text(json.dumps(resolved(name)[2], indent=1) + "\n")
