"""The house keeps its order: imports point down, the package is light, nothing user-facing needs torch."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = [
    "experiments",
    "cli",
    "recipes",
    "report",
    "serve",
    "evaluation",
    "judge",
    "train",
    "parallel",
    "reward",
    "text",
    "checkpoints",
    "model",
    "data",
    "composition",
    "rules",
]


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "experiments":
        return "experiments"
    return parts[1] if parts[0] == "encore_jax" and len(parts) > 1 and parts[1] in ROOMS else None


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_point_down():
    wrong = []
    for path in [*(ROOT / "encore_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        here = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module in imported(path):
            there = room_of(module)
            if here and there and ROOMS.index(there) < ROOMS.index(here):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong


def test_the_library_never_imports_torch():
    users = [p for p in (ROOT / "encore_jax").rglob("*.py") if any(m.split(".")[0] == "torch" for m in imported(p))]
    assert not users


def test_importing_the_package_is_light():
    heavy = "{'jax', 'transformers', 'matplotlib', 'tensorflow_datasets', 'torch', 'pyarrow'}"
    code = f"import sys, encore_jax; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves():
    import encore_jax

    for name in encore_jax.__all__:
        assert ">>> " in (getattr(encore_jax, name).__doc__ or ""), f"{name} has no example"
    assert set(encore_jax.__all__) <= set(dir(encore_jax))


def test_nothing_imports_from_experiments():
    for path in (ROOT / "encore_jax").rglob("*.py"):
        assert not [module for module in imported(path) if module.split(".")[0] == "experiments"], path
