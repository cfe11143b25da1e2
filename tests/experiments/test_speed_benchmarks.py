"""What the speed benchmarks count and write; their numbers here are made up, or a CPU's on tiny sizes."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.data import Comparison, Message, write_comparisons
from encore_jax.errors import InputError
from encore_jax.model.architectures import ARCHITECTURES
from encore_jax.model.visibility import visible
from encore_jax.parallel.flops import matrix_entries
from experiments.benchmarks import gpu, matmul_rate, our_step, train_parts, train_throughput
from tests.experiments import tiny_model

MADE_UP = [
    {"work": work, "side": side, "attention": attention, "pairs_per_second": speed, "tokens_per_second": 1e4 * speed,
     "flops_per_second": 1e13 * speed}
    for work, first in (("train", 8.0), ("score", 30.0))
    for (side, attention), speed in zip(gpu.MEASURED, (first, first / 2, first / 4), strict=True)
]  # fmt: skip
"""Measurements that nobody made."""


@pytest.mark.parametrize("name", ["smollm2-135m", "llama-3.1-8b", "qwen2.5-7b"])
def test_the_products_of_a_layer_are_the_models(name):
    cfg = ARCHITECTURES[name]
    matrices = matmul_rate.layer_matrices(cfg)
    assert cfg.layers * sum(i * o for i, o in matrices) == matrix_entries(cfg)
    assert matmul_rate.flops(matmul_rate.products(matrices, 10)) == 3 * 2 * 10 * matrix_entries(cfg) // cfg.layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pass_over_the_products_takes_time(dtype):
    seconds = matmul_rate.jax_pass([(64, 32, 16), (16, 64, 32)], dtype)
    assert 0 < seconds() < 60


def test_shares_are_of_the_quicker_library_and_ratios_of_peers_only():
    ours = {"pairs_per_second": 2.0, "peak_gib": 4.0, "step_gflops": 60.0, "needed_gflops": 50.0, "matmul_gflops": 80.0}
    alone = train_throughput._compare({"ours": [ours, ours | {"step_gflops": 40.0}]})
    assert (alone["share"], alone["needed_share"]) == (50 / 80, 50 / 80) and "ratio" not in alone
    trl = {"pairs_per_second": 0.5, "peak_gib": 8.0, "matmul_gflops": 120.0}
    both = train_throughput._compare({"ours": [ours], "trl": [trl]})
    assert (both["share"], both["ratio"], both["memory_ratio"]) == (0.5, 4.0, 0.5)


def test_visible_pairs_are_those_of_the_mask():
    rng = np.random.default_rng(0)
    tree, branch = rng.integers(0, 4, (3, 40)), rng.integers(0, 3, (3, 40))
    order = np.lexsort((branch, tree))  # a tree's tokens side by side, its prefix first
    tree, branch = (np.take_along_axis(x, order, -1) for x in (tree, branch))
    mask = np.asarray(visible(jnp.asarray(tree), jnp.asarray(branch), jnp.zeros((3, 40), jnp.int32), None))
    assert our_step.visible_pairs(tree, branch) == (mask & (tree > 0)[:, :, None]).sum() > 0


def test_every_operation_of_a_layer_has_its_part():
    def layer(carry, w):
        x = jnp.tanh(carry @ w)
        return jax.lax.cond(x[0, 0] > 0, lambda x: jnp.sort(x, 0) @ x.T @ x, lambda x: x, x), x

    run = jax.jit(lambda x, w: jax.tree.map(lambda y: y.sum() * 2, jax.lax.scan(layer, x, w)))
    program = run.lower(jnp.ones((8, 8)), jnp.ones((3, 8, 8))).compile().as_text()
    parts = train_parts.parts_of(program)
    known = train_parts.operations(program)
    dots = {parts[name] for name, op in known.items() if name in parts and " dot(" in f" {op.text}"}
    assert dots == {train_parts.PRODUCTS, train_parts.ATTENTION}, "that of the layer, and those under the condition"
    [sort] = {parts[name] for name, op in known.items() if name in parts and "sort" in op.opcode}
    assert sort == train_parts.ATTENTION
    assert train_parts.OUTSIDE in parts.values()
    name = next(name for name, part in parts.items() if part == train_parts.PRODUCTS)
    assert train_parts.STACKS in parts.values(), "the scan's outputs"
    seconds = train_parts.seconds_by_part(program, {name: [1.0, 2.0, 9.0, 2.0], "Thunk": [5.0]}, 2)
    assert seconds[train_parts.PRODUCTS] == 4.0 and sum(seconds.values()) == 4.0


def test_the_gpu_table_says_shares_and_ratios():
    text = gpu.table("NVIDIA H200", MADE_UP)
    assert "| train | ours | cudnn | 8.00 | 80,000 | 0.081 |" in text, "8e13 of 989e12"
    assert "train: ours cudnn over trl sdpa 4.00 in pairs/s" in text
    assert "score: ours cudnn over ours xla 2.00 in pairs/s" in text
    unknown = gpu.table("NVIDIA Unheard-of", MADE_UP[:1])
    assert "not known here" in unknown and unknown.rstrip().endswith("| 8.00 | 80,000 |  |")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The program with these arguments, its workers in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "_ask", gpu._work)

    def with_arguments(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
        gpu.main()

    return with_arguments


def test_without_a_gpu_one_line_says_so(run, tmp_path):
    with pytest.raises(InputError, match="bench-gpu: jax has no NVIDIA GPU here, only cpu. Fix: run it on a machine"):
        run("--pairs=pairs.jsonl")
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.slow
def test_the_measuring_code_runs_on_a_cpu(run, tmp_path, capsys):
    words, rng = np.array("yes no maybe a lock cake".split()), np.random.default_rng(0)
    said = lambda: " ".join(rng.choice(words, 6))  # noqa: E731
    pairs = [Comparison((Message("user", said()),), (said(), said()), 0) for _ in range(12)]
    write_comparisons(tmp_path / "pairs.jsonl", pairs)
    model = tiny_model.write(tmp_path / "model")
    sizes = ("--rows=2", "--length=256", "--steps=2", "--cpu")
    run("--pairs=pairs.jsonl", f"--model={model}", *sizes)
    said = capsys.readouterr().out
    told = json.loads(said.splitlines()[-1])
    assert told["device"] == "cpu" and [row["work"] for row in told["rows"]] == ["train", "score"]
    train, score = told["rows"]
    for row in told["rows"]:
        assert row["tokens_per_second"] > row["pairs_per_second"] > 0
    each = [row["flops_per_second"] / row["tokens_per_second"] for row in (train, score)]
    assert each[0] == pytest.approx(3 * each[1], rel=0.05), "training is three passes"
    assert "Nothing is written" in said and not (tmp_path / "runs").exists()
