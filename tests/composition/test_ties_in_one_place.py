"""No file but `encore_jax.composition.ties` decides by itself whether two rewards tie."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = "encore_jax/composition/ties.py"
MARGIN = re.compile(
    r"margin|delta|\bgap|reward|contribution|\bchosen|\brejected|\blead\b|discrepan|half_right|advantage"
)
ORDER = (ast.Gt, ast.Lt, ast.GtE, ast.LtE, ast.Eq, ast.NotEq)
DECIDED = ("sign", "is_tie", "credit", "tied", "settled", "first_place")
"""What comes out of these has been decided already."""
SETTLED = "a benchmark's own rule, on rewards that are equal where they tie (`settled`) or published as they are"
LOOP = "the loop that a user would write, which the engine is compared with"
ALLOWED = {
    "encore_jax/data/context.py": {"list(chosen[:-1]) != list(rejected[:-1])": "messages, not rewards"},
    "encore_jax/evaluation/ablation_kernel.py": {"margin_NxS == 0": "exactly 0 is a tie whatever the tolerance is"},
    "encore_jax/evaluation/benchmark.py": {
        "reward[:right].max() == reward[right:].max()": SETTLED,
        "reward[:right].min() > reward[right:].max()": SETTLED,
    },
    "encore_jax/evaluation/rewardbench2.py": {"rewards == rewards.max()": SETTLED},
    "encore_jax/evaluation/rm_bench.py": {"rewards[:, 0, :, None] > rewards[:, 1, None, :]": SETTLED},
    "encore_jax/report/point_labels.py": {"np.sign(side[0])": "a place in a figure"},
    "experiments/benchmarks/ablation_throughput.py": {"gap > 0": LOOP, "gap == 0": LOOP},
}


def suspicious(path: Path) -> list[str]:
    """Comparisons of margins with 0 and of rewards with each other, signs of anything, and the largest of rewards."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        text = ast.unparse(node) if isinstance(node, (ast.Compare, ast.Call)) else ""
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ORDER):
            sides = [node.left, *node.comparators]
            numbers = [isinstance(side, ast.Constant) and side.value == 0 for side in sides]
            named = [bool(MARGIN.search(names(side))) for side in sides]
            if (any(numbers) and any(named)) or all(named):
                found.append(text)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if node.func.attr == "sign" and owner in ("np", "jnp", "numpy", "jax.numpy", "jax.lax"):
                found.append(text)
            if node.func.attr in ("argmax", "argmin") and "reward" in names(node):
                found.append(text)
    return found


def names(node: ast.AST) -> str:
    """The identifiers of an expression, but for what is only measured (lengths, shapes, types) or decided already."""
    words = []

    def visit(node):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("len", "type", "isinstance", *DECIDED):
            return
        if isinstance(node, ast.Attribute):
            if node.attr in ("shape", "ndim", "size", "dtype", *DECIDED):
                return
            words.append(node.attr)
        if isinstance(node, ast.Name):
            words.append(node.id)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(node)
    return " ".join(words)


def test_the_walk_sees_what_it_is_to_see(tmp_path):
    bad = ["margin > 0", "0 == self.delta[i]", "rewards[0] > rewards[1]", "np.sign(x)", "reward.argmax()", "gap != 0.0"]
    good = ["len(margins) > 0", "margin.shape == 0", "is_tie(margin)", "sign(margin) > tolerance", "x > 0"]
    for text, expected in [(text, 1) for text in bad] + [(text, 0) for text in good]:
        (tmp_path / "one.py").write_text(text)
        assert len(suspicious(tmp_path / "one.py")) == expected, text


def test_ties_are_decided_in_one_place():
    paths = [path for room in ("encore_jax", "experiments", "examples") for path in (ROOT / room).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): set(suspicious(path)) for path in paths}
    assert found.pop(HOME)
    assert [(file, text) for file, texts in found.items() for text in texts - set(ALLOWED.get(file, {}))] == []
    assert [(file, text) for file, texts in ALLOWED.items() for text in set(texts) - found[file]] == []
