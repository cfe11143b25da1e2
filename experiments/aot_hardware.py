"""The smallest slice of each configuration, by search: the hardware table of docs/training.md.

    python -m experiments.aot_hardware              about a minute for each line on two idle cores; --missing resumes
    python -m experiments.published runs/hardware   puts the table on its page

Every search compiles with the TPU's own compiler, in a process of its own, and says what it tries.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.lock import folder_lock
from encore_jax.json_shape import read_json
from encore_jax.parallel.slices import parse_slice

SEARCHES = (
    ("encore_llama31_8b", "v5e"),
    ("encore_llama31_8b", "v6e"),
    ("encore_llama31_8b", "v5p"),
    ("encore_llama31_8b", "v4"),
    ("rule_adapter_llama32_3b", "v5e"),
    ("encore_llama31_70b", "v5p"),
    ("bt_llama31_8b", "v5e"),
    ("ramo_llama31_8b", "v5e"),
)
"""Configurations and generations that are searched."""
HEAD = ("config", "smallest slice", "chips", "peak, GiB per chip", "why none smaller")
FOLDER = Path("runs/hardware")


def result_of(config: str, generation: str) -> Path:
    """Where a search leaves what it found."""
    return FOLDER / f"{config}-{generation}" / "aot.json"


def search(config: str, generation: str) -> int:
    """Searches in a process of its own; returns its exit status."""
    workdir = result_of(config, generation).parent
    make_folder(workdir)
    command = [sys.executable, "-m", "experiments.run", f"--config=experiments/configs/{config}.py",
               f"--aot=fit:{generation}", f"--workdir={workdir}", "--overwrite"]  # fmt: skip
    print(f"{config} on {generation}:", flush=True)
    return subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}).returncode


def row(config: str, generation: str, found: dict) -> str:
    """One line of the Markdown table.

    >>> tried = [{"slice": "v5e:2x4", "fits": False, "peak_gib": 20.9, "hbm_gib": 15.75, "why_not": "5 GiB too many"},
    ...          {"slice": "v5e:4x4", "fits": True, "peak_gib": 13.93, "hbm_gib": 15.75, "why_not": ""}]
    >>> row("x", "v5e", {"smallest": "v5e:4x4", "tried": tried})
    '| x | v5e:4x4 | 16 | 13.93 of 15.75 | v5e:2x4: 5 GiB too many |'
    """
    tried, name = found["tried"], found["smallest"]
    if name is None:
        return f"| {config} | none of {generation} | | | |"
    best = next(one for one in tried if one["slice"] == name and one["fits"])
    chips = parse_slice(name).chips
    smaller = [one for one in tried if parse_slice(one["slice"]).chips < chips]
    last = max(smaller, key=lambda one: parse_slice(one["slice"]).chips, default=None)
    why = f"{last['slice']}: {last['why_not']}" if last else "there is none"
    return f"| {config} | {name} | {chips} | {best['peak_gib']:.2f} of {best['hbm_gib']:.2f} | {why} |"


def main() -> int:
    """Searches, and writes runs/hardware/hardware.md from all results that are there."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--missing", action="store_true", help="search only what has no result yet")
    missing = parser.parse_args().missing
    with folder_lock(FOLDER):
        for config, generation in SEARCHES:
            if missing and result_of(config, generation).exists():
                continue
            search(config, generation)
            _write_table()
        print(_write_table(), end="")
    return 0 if all(result_of(*one).exists() for one in SEARCHES) else 1


def _write_table() -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for config, generation in SEARCHES:
        path = result_of(config, generation)
        if path.exists():
            lines.append(row(config, generation, read_json(path, dict[str, object])))
    with atomic_path(FOLDER / "hardware.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
