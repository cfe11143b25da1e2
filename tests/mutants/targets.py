"""Which modules mistakes are made in, and which tests must notice them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOMS = {
    "composition": ["encore_jax/composition/*.py"],
    "train": ["encore_jax/train/*.py"],
    "judge": ["encore_jax/judge/**/*.py", "encore_jax/http/*.py"],
    "statistics": [
        f"encore_jax/evaluation/{name}.py"
        for name in (
            "ablation_anova", "ablation_grid", "ablation_kernel", "ablation_tables", "agreement", "audit", "benchmark",
            "bootstrap", "heuristics", "methods", "noise_study", "paired", "preference", "premise", "ramo",
            "rewardbench", "rewardbench2", "rm_bench", "selection_metrics", "sensitivity", "significance",
            "verdicts", "view",
        )
    ],
    "pipeline": [
        f"encore_jax/{name}.py"
        for name in ("recipes/artefact", "recipes/code_version", "recipes/manifest", "recipes/pipeline", "recipes/run",
                     "recipes/checkpoints_kept", "recipes/fit",
                     "recipes/fit_by_gradient", "recipes/fit_weights",
                     "cli/score_parts", "cli/score_rows", "cli/sweep_runs", "cli/grid")
    ],
    "export": [
        f"encore_jax/{name}.py"
        for name in ("checkpoints/adapters", "reward/export", "reward/padding", "reward/passport",
                     "reward/reward_model", "checkpoints/safetensors_writer", "reward/weighting")
    ],
}  # fmt: skip
"""Globs of files, by room; every room gives the same number of mutants."""

CHOSEN_TESTS = {
    "encore_jax/evaluation/benchmark.py": [
        "evaluation/test_benchmark_intervals.py",
        "evaluation/test_benchmark_scores.py",
        "experiments/test_benchmark.py",
    ],
    "encore_jax/evaluation/preference.py": ["experiments/test_preferences.py"],
    "encore_jax/reward/padding.py": ["reward/test_export.py"],
    "encore_jax/reward/export.py": ["reward/test_export_adapter.py", "reward/test_export.py"],
    "encore_jax/http/endpoints.py": ["judge/test_endpoints.py", "judge/test_client_faults.py", "judge/test_server.py"],
    "encore_jax/judge/devices/followers.py": ["experiments/test_judging_together.py"],
    "encore_jax/judge/journal_file.py": ["judge/test_journal_file.py", "judge/test_journal.py", "judge/test_kill.py"],
    "encore_jax/recipes/pipeline.py": [
        "experiments/test_stage_inputs.py",
        "experiments/test_manifest.py",
        "experiments/test_pipeline.py",
    ],
    "encore_jax/recipes/run.py": ["experiments/test_run_experiment.py", "experiments/test_pipeline.py"],
    "encore_jax/recipes/checkpoints_kept.py": ["experiments/test_checkpoints_kept.py"],
    "encore_jax/cli/sweep_runs.py": ["experiments/test_sweep_runs.py", "experiments/test_sweep.py"],
}  # fmt: skip
"""Tests of modules that no test of their own name or room imports, or too many do."""


def files(root: Path) -> dict[str, list[str]]:
    """The files of every room, relative to the repository's root; files of mere imports are left out."""
    return {
        room: sorted(
            str(path.relative_to(root))
            for pattern in patterns
            for path in root.glob(pattern)
            if path.name not in ("__init__.py", "__main__.py")
        )
        for room, patterns in ROOMS.items()
    }


def tests_of(root: Path, path: str) -> list[str]:
    """Test files of a module: those of its name first, then those of its room that import it, the smallest first."""
    if path in CHOSEN_TESTS:
        return [f"tests/{test}" for test in CHOSEN_TESTS[path]]
    module = path.removesuffix(".py").replace("/", ".")
    room, name = module.rsplit(".", 1)
    importers = []
    folder = module.split(".")[1]
    own_room = root / "tests" / {"http": "judge"}.get(folder, folder)
    for test in sorted(own_room.rglob("test_*.py"), key=lambda test: test.stat().st_size):
        names = _imports(test)
        if module in names or f"{room}:{name}" in names or _reexports(root, room, module, names):
            importers.append(str(test.relative_to(root)))
    named = [str(test.relative_to(root)) for test in own_room.rglob(f"test_{name}.py")]
    return list(dict.fromkeys([*named, *importers]))


def _imports(test: Path) -> set[str]:
    """Modules that a file imports, and ``package:name`` for what it takes out of a package."""
    names = set()
    for node in ast.walk(ast.parse(test.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}:{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _reexports(root: Path, room: str, module: str, names: set[str]) -> bool:
    """Whether a test takes a function of this module out of its package, or out of `encore_jax` itself."""
    package = root / room.replace(".", "/") / "__init__.py"
    if not package.is_file():
        return False
    public = {
        alias.name
        for node in ast.walk(ast.parse(package.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }
    return any(f"{where}:{name}" in names for where in (room, "encore_jax") for name in public)
