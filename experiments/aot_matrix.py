"""The proof that the 8B configs will fit, in one table: compiled for real slices, and refused where they must be.

    python -m experiments.aot_matrix            (or: make aot)

Exit status 1 if any line is not as expected.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.lock import folder_lock
from encore_jax.json_shape import read_json
from encore_jax.progress import clock


class Case(NamedTuple):
    """A config and a slice, and whether it must fit."""

    config: str
    slice: str
    fits: bool
    overrides: tuple[str, ...] = ()


CASES = (
    Case("encore_llama31_8b", "v5e:8x8", True),
    Case("encore_llama31_8b", "v6e:4x4", True),
    Case("encore_llama31_8b", "v5p:16", True),
    Case("encore_llama31_8b", "v4:16", True),
    Case("encore_llama31_8b", "v5e:2x2", False),
    Case("bt_llama31_8b", "v5e:8x8", True),
    Case("encore_llama31_70b", "v5p:32", True),
    Case("rule_adapter_llama32_3b", "v5e:4x4", True),
    Case("ramo_llama31_8b", "v5e:8x8", True),
)


def compile_case(case: Case, folder: Path) -> tuple[dict, str]:
    """Compiles in a process of its own; returns what aot.json says, and what went wrong, if anything."""
    workdir = folder / f"{case.config}-{case.slice.replace(':', '-')}"
    make_folder(workdir)
    (workdir / "aot.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "experiments.run", f"--config=experiments/configs/{case.config}.py",
               *case.overrides, f"--aot={case.slice}", f"--workdir={workdir}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    if not (workdir / "aot.json").exists():
        return {}, f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}"
    report = read_json(workdir / "aot.json", dict[str, object])
    if report["fits"] != case.fits:
        return report, "it must fit" if case.fits else "it must not fit"
    if done.returncode != (0 if case.fits else 1):
        return report, f"exit status {done.returncode}"
    return report, ""


def row(case: Case, report: dict, problem: str) -> str:
    """One line of the Markdown table."""
    if not report:
        return f"| {case.config} | {case.slice} | | | | {problem} |"
    memory = report["per_chip_gib"]
    verdict = problem.upper() or ("fits" if report["fits"] else f"refused, {report['overrun_gib']:.1f} GiB too many")
    state = memory["parameters"] + memory["optimizer"]
    return (
        f"| {case.config} | {report['slice']} | {report['chips']} | {state:.2f} | {memory['peak']:.2f} of "
        f"{memory['hbm']:.2f} | {verdict} |"
    )


def main() -> int:
    """Prints the table as it grows, and writes it to runs/aot."""
    Parser(description=__doc__.splitlines()[0]).parse_args()
    folder = Path("runs/aot")
    with folder_lock(folder):
        return _compiled(folder)


def _compiled(folder: Path) -> int:
    lines = [
        "| config | slice | chips | state, GiB per chip | peak, GiB per chip | verdict |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    failed, seconds = 0, 0.0
    for case in CASES:
        report, problem = compile_case(case, folder)
        failed += bool(problem)
        seconds += report.get("compile_seconds", 0.0)
        lines.append(row(case, report, problem))
        print(lines[-1], flush=True)
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print(f"\n{len(CASES) - failed} of {len(CASES)} as expected, {clock(seconds)} of compilation")
    return 1 if failed else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
