"""Which functions of the sources read what may come from outside, found by what they call.

Every one of them is entered when the targets' undamaged files are loaded, or stands in `EXCEPTIONS` with a reason
(`test_loaders.py` checks it): a new loader needs a target.
"""

from __future__ import annotations

import ast
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("encore_jax", "experiments")
READING = {
    "open", "open_file", "fdopen", "pread", "read_text", "read_bytes", "read_json", "decode_json", "file_digest",
    "GzipFile", "ZipFile", "DictReader", "mmap", "memmap", "fromfile", "genfromtxt", "loadtxt", "ParquetFile",
    "safe_open", "load_file", "GGUFReader", "from_file", "builder_from_directory", "ArrayRecordReader",
    "ArrayRecordDataSource", "safe_load", "JsonCheckpointHandler", "StandardCheckpointHandler",
    "PyTreeCheckpointHandler",
}  # fmt: skip
"""Names of functions, methods and classes that read a file, or parse what one holds."""
OF_MODULES = {
    ("np", "load"), ("json", "load"), ("json", "loads"), ("pickle", "load"), ("pickle", "loads"), ("yaml", "load"),
    ("yaml", "parse"), ("yaml", "compose"), ("sqlite3", "connect"), ("csv", "reader"), ("tomllib", "load"),
    *((module, name) for module in ("pq", "parquet") for name in ("read_metadata", "read_schema", "read_table")),
}  # fmt: skip
"""Those whose names alone say too little, with their modules'."""

EXCEPTIONS = {
    "opened to see whether it can be, and closed; nothing is read": {"encore_jax/data/sources.py::check_local_file"},
    "what another stage of the same run wrote; its manifest holds the file's hash": {
        "encore_jax/cli/finished_run.py::_one_model", "encore_jax/recipes/artefact.py::_array",
        "encore_jax/recipes/artefact.py::read", "encore_jax/evaluation/rule_agreement.py::RuleAgreement.from_json",
        "encore_jax/evaluation/convention_scores.py::ConventionScores.load",
        *(f"encore_jax/recipes/stages/{name}" for name in (
            "ablation_report.py::report_ablation", "adapter.py::Adapter.load", "arms.py::Labels.load",
            "baselines.py::Baselines.load", "benchmark.py::BenchmarkResults.load",
            "benchmark.py::BenchmarkScores.load", "benchmark.py::show_benchmark",
            "benchmark_data.py::BenchmarkItems.load", "compose.py::Composed.load", "compose.py::_load_composition",
            "extract.py::Extracted.load", "frozen.py::Features.load", "heads.py::Heads.load",
            "ingest.py::Ingested.load", "joint.py::JointModels.load", "judge.py::Rated.load",
            "panel.py::PanelData.load", "panel.py::PanelRatings.load",
            "panel_report.py::PanelCounts.load", "panel_report.py::PanelFound.load",
            "preferences.py::TrainedPreference.load", "probe.py::load_margins", "probe.py::load_probe",
            "rate.py::Ratings.load", "rating_report.py::IngestCounts.load", "report.py::publish",
            "reward_arms.py::RewardModels.load", "rule_ratings.py::RuleRatings.load", "train.py::TrainedHeads.load",
            "verdicts.py::Verdicts.load",
        )),
    },
    "what this very process, or another of the same run, has just written": {
        "encore_jax/reward/saved_model.py::save_heads", "encore_jax/parallel/shared_folder.py::check_shared",
        "encore_jax/judge/rate.py::_argument", "encore_jax/cli/score_together.py::Found.from_bytes",
        "experiments/benchmarks/gpu.py::_ask",
    },
    "a benchmark's copy of a model that was read before": {"experiments/benchmarks/llama_side.py::stored_weights"},
    "files of this package or of the machine": {
        "encore_jax/recipes/code_version.py::_source",
        "encore_jax/command_line.py::_has_accelerator", "encore_jax/command_line.py::one_line_errors",
        "encore_jax/data/probes/__init__.py::over_refusal_probe", "encore_jax/report/audit_page.py::render_audit",
        "encore_jax/cli/config.py::_title", "encore_jax/cli/doctor.py::_devices",
    },
    "flags in this project's own messages": {"encore_jax/judge/rate.py::_argument"},
    "entered by damaged files only": {
        "encore_jax/text/tokenizer_files.py::diagnose", "encore_jax/cli/score_parts.py::Parts._difference",
    },
    "tools of this project's developers": {
        "experiments/aot_hardware.py::_write_table", "experiments/aot_matrix.py::compile_case",
        "experiments/benchmarks/easydel_side.py::_rows",
        "experiments/benchmarks/export_memory.py::_memory", "experiments/benchmarks/import_memory.py::_peak_bytes",
        "experiments/benchmarks/import_memory.py::_read", "experiments/benchmarks/import_memory.py::_write",
        "experiments/benchmarks/import_memory.py::main",
        "experiments/benchmarks/journal_scale.py::main", "experiments/benchmarks/train_throughput.py::_measure",
        "experiments/benchmarks/train_parts.py::_durations",
        "experiments/benchmarks/serving_throughput.py::_Server.run.client", "experiments/published.py::_lines",
        "experiments/published.py::_sections", "experiments/published.py::main", "experiments/pod.py::benchmark_rows",
    },
}  # fmt: skip
"""Functions that read, and need no target, by the reason why."""


def readers() -> set[str]:
    """Every function that reads, as ``encore_jax/files.py::open_file``; methods as ``...::Class.method``."""
    names: set[str] = set()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        relative = path.relative_to(ROOT).as_posix()
        names |= {f"{relative}::{name}" for name in readers_in(path.read_text(encoding="utf-8"))}
    return names


def readers_in(source: str) -> set[str]:
    """Names of the functions that hold a reading call themselves; what stands in none of them is ``<module>``.

    >>> sorted(readers_in("def f(p):\\n  return open(p)\\nclass A:\\n  def g(self): return json.loads(self.x)\\nh = f"))
    ['A.g', 'f']
    >>> readers_in("def f(p):\\n  p.open('w').write(json.loads(json.dumps(1)))")
    set()
    """
    return _below(ast.parse(source), "")


def name_of(code: types.CodeType) -> str:
    """A function's name as `readers` has it, "" for code outside of the rooms."""
    try:
        relative = Path(code.co_filename).relative_to(ROOT)
    except ValueError:
        return ""
    if relative.parts[0] not in ROOMS:
        return ""
    return f"{relative.as_posix()}::{code.co_qualname.replace('.<locals>', '')}"


def _below(node: ast.AST, name: str) -> set[str]:
    names: set[str] = set()
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names |= _below(inner, f"{name}.{inner.name}".lstrip("."))
        else:
            names |= _below(inner, name)
            if isinstance(inner, ast.Call) and _reads(inner):
                names.add(name or "<module>")
    return names


def _reads(call: ast.Call) -> bool:
    name, owner = _called(call.func)
    return (owner, name) in OF_MODULES and not _is_round_trip(call) or name in READING and not _writes(call)


def _called(function: ast.expr) -> tuple[str, str]:
    """The last part of a function's name, and the part before it."""
    if isinstance(function, ast.Name):
        return function.id, ""
    if not isinstance(function, ast.Attribute):
        return "", ""
    owner = function.value
    return function.attr, getattr(owner, "attr", "") or getattr(owner, "id", "")


def _writes(call: ast.Call) -> bool:
    """Whether a file is opened to be written."""
    words = [word.value for word in ast.walk(call) if isinstance(word, ast.Constant)]
    return any(word in ("w", "wb", "a", "ab", "x", "xb") for word in words)


def _is_round_trip(call: ast.Call) -> bool:
    """Whether JSON is parsed that has just been written."""
    return any(isinstance(one, ast.Attribute) and one.attr == "dumps" for one in ast.walk(call))
