"""The proof that the 8B configs will fit, in one table: compiled for real slices, and refused where they must be.

Training, and the programs that run the finished model: features, scores, a local judge.

    python -m experiments.aot_matrix            (or: make aot)

Exit status 1 if any line is not as expected.
"""

from __future__ import annotations

import os
import re
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
    """A config and a slice, and whether it must fit.

    Attributes:
      config: of `experiments/configs`, or a shipped one.
      overrides: of its fields.
      program: what of the config is compiled, in words.
    """

    config: str
    slice: str
    fits: bool
    overrides: tuple[str, ...] = ()
    program: str = "train"


SHARED = ("--config.mesh.fsdp=1", "--config.mesh.tensor=8")
"""Eight chips share every layer, as `--mesh=fsdp=1,tensor=8` says it."""
SCORED = ("--config.architecture=llama-3.1-8b", "--config.dtype=bfloat16", "--config.tokens_per_batch=16384")

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
    Case("encore_llama31_8b", "2xv5e:8x8", True, ("--config.mesh.data=2", "--config.train.rows=128")),
    Case("rewardbench", "v5e:2x4", True, (*SCORED, *SHARED), "score"),
    Case("rewardbench", "v5e:2x4", False, SCORED, "score, whole on each chip"),
    Case("encore_llama31_8b", "v5e:2x4", True, ("--config.train.method=ridge", *SHARED), "features"),
    Case("rate_local", "v5e:2x4", True, ("--config.model.architecture=llama-3.1-8b", *SHARED), "judge"),
    Case("encore_qwen3_30b_a3b", "v5p:16", True),
    Case("encore_gemma3_12b", "v5p:16", True),
)


def compile_case(case: Case, folder: Path) -> tuple[dict, str]:
    """Compiles in a process of its own; returns what aot.json says, and what went wrong, if anything."""
    workdir = folder / re.sub(r"[^\w.-]+", "-", f"{case.config}-{case.slice}-{case.program}")
    make_folder(workdir)
    (workdir / "aot.json").unlink(missing_ok=True)
    own = Path(f"experiments/configs/{case.config}.py")
    command = [sys.executable, "-m", "experiments.run", f"--config={own if own.exists() else case.config}",
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
        return f"| {case.config} | {case.program} | {case.slice} | | | | {problem} |"
    memory = report["per_chip_gib"]
    verdict = problem.upper() or ("fits" if report["fits"] else f"refused, {report['overrun_gib']:.1f} GiB too many")
    state = memory["parameters"] + memory["optimizer"]
    what = f"| {case.config} | {case.program} | {report['slice']} | {report['chips']}"
    return f"{what} | {state:.2f} | {memory['peak']:.2f} of {memory['hbm']:.2f} | {verdict} |"


def main() -> int:
    """Prints the table as it grows, and writes it to runs/aot."""
    Parser(description=__doc__.splitlines()[0]).parse_args()
    folder = Path("runs/aot")
    with folder_lock(folder):
        return _compiled(folder)


def _compiled(folder: Path) -> int:
    lines = [
        "| config | program | slice | chips | state, GiB per chip | peak, GiB per chip | verdict |",
        "|---|---|---|---|---|---|---|",
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
