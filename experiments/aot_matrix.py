"""The proof that the 8B configs will fit, in one table: compiled for real slices, and refused where they must be.

Training, and the programs that run the finished model: features, scores, a local judge.

    python -m experiments.aot_matrix                    (or: make aot); --missing resumes
    python -m experiments.aot_matrix --only=notebook    what has this in its program or configuration

Exit status 1 if any line is not as expected.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.lock import folder_lock
from encore_jax.errors import InputError
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
LARGER = ("--config.architecture=gemma-3-12b", *SCORED[1:])
GROUPS = ("--config.mesh.fsdp=2", "--config.mesh.tensor=4")
"""Four chips share every layer, as many as Qwen2.5-7B has key-value heads."""
NOTEBOOK = ("--config.model.architecture=qwen2.5-7b", "--config.train.method=ridge", "--config.model.buckets=(256,512)",
            "--config.model.tokens_per_batch=16384", *GROUPS)  # fmt: skip

CASES = (
    Case("encore_llama31_8b", "v5e:8x8", True),
    Case("encore_llama31_8b", "v6e:4x4", True),
    Case("encore_llama31_8b", "v5p:16", True),
    Case("encore_llama31_8b", "v4:16", True),
    Case("encore_llama31_8b", "v5e:2x2", False),
    Case("bt_llama31_8b", "v5e:8x8", True),
    Case("joint_llama31_8b", "v5e:8x8", True),
    Case("encore_llama31_70b", "v5p:32", True),
    Case("rule_adapter_llama32_3b", "v5e:4x4", True),
    Case("ramo_llama31_8b", "v5e:8x8", True),
    Case("encore_llama31_8b", "2xv5e:8x8", True, ("--config.mesh.data=2", "--config.train.rows=128")),
    Case("rewardbench", "v5e:2x4", True, (*SCORED, *SHARED), "score"),
    Case("rewardbench", "v5e:2x4", True, SCORED, "score, whole on each chip"),
    Case("rewardbench", "v5e:2x4", False, LARGER, "score of gemma-3-12b, whole on each chip"),
    Case("encore_llama31_8b", "v5e:2x4", True, ("--config.train.method=ridge", *SHARED), "features"),
    Case("rate_local", "v5e:2x4", True, ("--config.model.architecture=llama-3.1-8b", *SHARED), "judge"),
    Case("rate_local", "v5e:2x4", True, ("--config.model.architecture=qwen2.5-7b", *GROUPS), "judge of the notebook"),
    Case("encore_llama31_8b", "v5e:2x4", True, NOTEBOOK, "features of the notebook"),
    Case(
        "rewardbench",
        "v5e:2x4",
        True,
        ("--config.architecture=qwen2.5-7b", *SCORED[1:], *GROUPS),
        "scores of the notebook",
    ),
    Case("encore_qwen3_30b_a3b", "v5p:16", True),
    Case("encore_gemma3_12b", "v5p:16", True),
)


def workdir_of(case: Case, folder: Path) -> Path:
    """Where the case leaves its aot.json."""
    return folder / re.sub(r"[^\w.-]+", "-", f"{case.config}-{case.slice}-{case.program}")


def compile_case(case: Case, folder: Path, missing: bool = False) -> tuple[dict, str]:
    """Compiles in a process of its own; returns what aot.json says, and what went wrong, if anything.

    Args:
      missing: take an aot.json that is there for what it would say.
    """
    workdir = workdir_of(case, folder)
    make_folder(workdir)
    if not missing:
        (workdir / "aot.json").unlink(missing_ok=True)
    elif (workdir / "aot.json").exists():
        report = read_json(workdir / "aot.json", dict[str, object])
        return report, "" if report["fits"] == case.fits else _unexpected(case)
    own = Path(f"experiments/configs/{case.config}.py")
    command = [sys.executable, "-m", "experiments.run", f"--config={own if own.exists() else case.config}",
               *case.overrides, f"--aot={case.slice}", f"--workdir={workdir}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    if not (workdir / "aot.json").exists():
        return {}, f"exit status {done.returncode}: {done.stderr.strip()[-2000:]}"
    report = read_json(workdir / "aot.json", dict[str, object])
    if report["fits"] != case.fits:
        return report, _unexpected(case)
    if done.returncode != (0 if case.fits else 1):
        return report, f"exit status {done.returncode}"
    return report, ""


def _unexpected(case: Case) -> str:
    return "it must fit" if case.fits else "it must not fit"


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
    """Prints the table as it grows, and writes it to runs/aot where nothing is left out."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases with this in their program or configuration, e.g. notebook")
    parser.add_argument("--missing", action="store_true", help="compile only what has no result yet")
    given = parser.parse_args()
    cases = [case for case in CASES if given.only in f"{case.config} {case.program}"]
    if not cases:
        programs = ", ".join(sorted({case.program for case in CASES}))
        raise InputError("no case has this in its name", where=f"--only={given.only}", fix=f"e.g. one of {programs}")
    folder = Path("runs/aot")
    with folder_lock(folder):
        return _compiled(folder, cases, given.missing)


def _compiled(folder: Path, cases: Sequence[Case], missing: bool) -> int:
    lines = [
        "| config | program | slice | chips | state, GiB per chip | peak, GiB per chip | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    failed, seconds = 0, 0.0
    for case in cases:
        report, problem = compile_case(case, folder, missing)
        failed += bool(problem)
        seconds += report.get("compile_seconds", 0.0)
        lines.append(row(case, report, problem))
        print(lines[-1], flush=True)
    if len(cases) == len(CASES):
        with atomic_path(folder / "table.md") as temporary:
            temporary.write_text("\n".join(lines) + "\n")
    print(f"\n{len(cases) - failed} of {len(cases)} as expected, {clock(seconds)} of compilation")
    return 1 if failed else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
