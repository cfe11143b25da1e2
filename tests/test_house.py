"""The house keeps its order: imports point down, the package is light, nothing user-facing needs torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
    "reward",
    "text",
    "checkpoints",
    "parallel",
    "model",
    "data",
    "composition",
    "rules",
    "http",
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


def loaded_by(module: str, then: str = "") -> set[str]:
    """Files of this package that importing a module loads, and what is done then."""
    code = f"import sys, {module}\n{then}\nprint(*(m for m in sys.modules if m.split('.')[0] == 'encore_jax'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "most"),
    [("encore_jax.cli.main", 10), ("experiments.run", 22), ("encore_jax.recipes.config", 40)],
)
def test_a_command_line_is_read_before_a_recipe_is_loaded(module, most):
    assert len(loaded_by(module)) <= most


def stages_of(loaded: set[str]) -> set[str]:
    return {name for name in loaded if name.startswith("encore_jax.recipes.stages.")}


@pytest.mark.parametrize(
    ("recipe", "most"),
    [("encore", 70), ("bradley_terry", 70), ("joint", 75), ("rule_adapter", 75), ("ramo", 75), ("ablation", 75),
     ("theory", 70), ("rating", 95), ("verdicts", 95), ("panel", 121), ("benchmark", 131)],
)  # fmt: skip
def test_importing_a_recipe_loads_none_of_its_stages(recipe, most):
    loaded = loaded_by(f"encore_jax.recipes.{recipe}")
    assert not stages_of(loaded) and len(loaded) <= most


PLAN = """
from pathlib import Path
from encore_jax.cli.config_file import load_config
from encore_jax.recipes.encore import run
from encore_jax.recipes.plan import Plan
plan = Plan(Path("nowhere"))
run(load_config("quickstart"), plan)
"""


def test_a_run_is_planned_before_any_of_its_stages_is_loaded():
    assert not stages_of(loaded_by("encore_jax", PLAN + "plan.stages, plan.given(object)"))


def test_a_run_on_frozen_features_loads_neither_training_by_gradient_nor_formats_nor_kernels():
    loaded = loaded_by("encore_jax", PLAN + "for stage in plan.stages: plan.call(stage)")
    unused = {
        "train.fine_tune", "train.loop", "train.packing", "model.tree_attention",
        "checkpoints.gguf", "data.rated_comparisons", "data.readers.arena", "data.readers.pku_saferlhf",
        "evaluation.rating_tables", "http.client", "judge.devices.local",
    }  # fmt: skip
    assert not {f"encore_jax.{name}" for name in unused} & loaded
    assert len(stages_of(loaded)) >= 15 and len(loaded) <= 239


def test_every_stage_has_a_function_of_its_name():
    from encore_jax.recipes import stages_by_name

    for name in stages_by_name.__all__:
        assert getattr(stages_by_name, name).load().__name__ == name


@pytest.mark.parametrize("room", ["", "composition", "data", "rules"])
def test_no_public_name_is_also_a_module_beside_it(room):
    """Importing the module would put it where the name was."""
    import importlib

    package = importlib.import_module(f"encore_jax.{room}".rstrip("."))
    modules = {path.stem for path in (ROOT / "encore_jax" / room).iterdir()}
    assert package.__all__ and not modules & set(package.__all__) - {"judges"}


def test_every_public_name_resolves():
    import encore_jax

    for name in encore_jax.__all__:
        assert ">>> " in (getattr(encore_jax, name).__doc__ or ""), f"{name} has no example"
    assert set(encore_jax.__all__) <= set(dir(encore_jax))


def test_nothing_imports_from_experiments():
    for path in (ROOT / "encore_jax").rglob("*.py"):
        assert not [module for module in imported(path) if module.split(".")[0] == "experiments"], path
