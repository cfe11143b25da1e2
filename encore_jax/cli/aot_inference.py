"""The programs that run a finished model, compiled for a TPU slice that is only described: scores, features, a judge.

| configuration | its program | largest step |
|---|---|---|
| a benchmark (rewardbench) | scores of every token, as `encore score` and `serve` run it | the longest rows |
| rule heads in closed form | features of the frozen backbone | the same |
| a local judge (rate_local) | log-probabilities of the answers | the longest conversations, every rule asked about |
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from encore_jax.checkpoints.huggingface import load_config
from encore_jax.data import locate
from encore_jax.data.prefix_tree import TreeBatch
from encore_jax.errors import InputError
from encore_jax.judge.devices.local import judge_program, rows_per_step
from encore_jax.model import params as declared
from encore_jax.model.architectures import architecture
from encore_jax.model.branch_rows import Shape as BranchShape
from encore_jax.model.branch_rows import round_up
from encore_jax.model.branching import BranchRows, run_root
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.aot import AotReport, bytes_per_device, compile_report
from encore_jax.parallel.flops import step_flops
from encore_jax.parallel.mesh import BATCH, activate, batch_shards, make_mesh, replicated
from encore_jax.parallel.placement import backbone_shardings, with_shardings
from encore_jax.parallel.slices import TpuSlice, topology
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.run_config import RunConfig
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.benchmark import CHECKPOINT_BUCKETS
from encore_jax.recipes.stages.gradient import backbone_config
from encore_jax.reward.scorer import batch_shapes
from encore_jax.reward.sequences import feature_function
from encore_jax.reward.token_values import shared_token_values

RULES = 128
"""K, heads of a model that is not looked at: more than any shipped pool has."""
ROOT, QUESTION, TOKENS_PER_END = 512, 64, 32
"""Tokens of a judge's instructions and of one rule's question, at most; tokens for each text among features."""


class Step(NamedTuple):
    """The largest step of a program.

    Attributes:
      lowered: for the described devices.
      parameters: bytes of parameters on one device.
      flops: on all of them.
      words: what it does, for the log.
    """

    lowered: jax.stages.Lowered
    parameters: int
    flops: int
    words: str


def compile_inference(config: RunConfig, tpu: TpuSlice) -> AotReport:
    """Compiles the program of a configuration that trains nothing by gradient.

    Raises:
      InputError: it puts no model on devices, or the mesh fits neither slice nor model.
    """
    mesh = make_mesh(config.mesh, topology(tpu).devices) if hasattr(config, "mesh") else None
    step = _step(config, mesh)
    print(f"{config.name}: {step.words}")
    return compile_report(step.lowered, slice=tpu, parameters_bytes=step.parameters, optimizer_bytes=0,
                          analytic_flops=step.flops)  # fmt: skip


def _step(config: RunConfig, mesh: Mesh | None) -> Step:
    if isinstance(config, BenchmarkConfig):
        return score_step(_benchmark_backbone(config), mesh, config.dtype, config.buckets or CHECKPOINT_BUCKETS,
                          config.tokens_per_batch)  # fmt: skip
    if isinstance(config, RatingConfig) and config.judge.kind == "local":
        pool = rule_pool(DataConfig(pool=config.judge.pool) if config.judge.pool else config.data)
        return judge_step(_backbone(config.model, config.data), mesh, config.model, len(pool))
    if hasattr(config, "train"):
        return feature_step(_backbone(config.model, config.data), mesh, config.model)
    raise InputError(
        f"{type(config).__name__} puts no model on this machine's devices", where="--aot",
        fix="use a config that trains, scores or judges here, such as encore_llama31_8b.py, rewardbench or rate_local",
    )  # fmt: skip


def _backbone(model: ModelConfig, data: DataConfig) -> DecoderConfig:
    return backbone_config(model, None if model.architecture else locate(model.path, offline=data.offline))


def _benchmark_backbone(config: BenchmarkConfig) -> DecoderConfig:
    if config.architecture:
        return architecture(config.architecture)
    return load_config(locate(config.model, offline=config.offline))


def score_step(
    cfg: DecoderConfig, mesh: Mesh, dtype: str, buckets: Sequence[int], tokens_per_batch: int, rules: int = RULES
) -> Step:
    """The largest batch of a `Scorer` on this mesh."""
    shapes = batch_shapes(buckets, tokens_per_batch, batch_shards(mesh))
    shape = max(shapes, key=lambda shape: (shape.tokens, shape.length))
    params = _params(cfg, mesh, dtype)
    heads = (_whole(mesh, cfg.width, rules, dtype=jnp.float32), _whole(mesh, rules, dtype=jnp.float32), None)
    rows = [_rows(mesh, shape.rows, shape.length) for _ in range(4)]
    with activate(mesh):
        lowered = shared_token_values(cfg, jnp.dtype(dtype), mesh).lower(params, *heads, *rows)
    flops = step_flops(cfg, rows=shape.rows, length=shape.length, ends=shape.tokens, rules=rules, trainable="none")
    words = f"scores, {shape.rows} rows of {shape.length} tokens at once"
    return Step(lowered, bytes_per_device((params, heads)), flops, words)


def feature_step(cfg: DecoderConfig, mesh: Mesh, model: ModelConfig) -> Step:
    """The largest batch of feature extraction on this mesh."""
    length, shards = max(model.buckets), batch_shards(mesh)
    rows = -(-max(1, model.tokens_per_batch // length) // shards) * shards
    ends, params = rows * length // TOKENS_PER_END, _params(cfg, mesh, model.dtype)
    batch = TreeBatch(*(_whole(mesh, rows, length) for _ in range(4)), *(_whole(mesh, ends) for _ in range(3)))
    with activate(mesh):
        lowered = feature_function(cfg, jnp.dtype(model.dtype), replicated(mesh)).lower(params, batch)
    flops = step_flops(cfg, rows=rows, length=length, ends=0, rules=0, trainable="none")
    return Step(lowered, bytes_per_device(params), flops, f"features, {rows} rows of {length} tokens at once")


def judge_step(cfg: DecoderConfig, mesh: Mesh, model: ModelConfig, rules: int) -> Step:
    """The largest step of a local judge on this mesh: conversations as long as it takes, all rules of a pool."""
    dtype, where = jnp.dtype(model.dtype), NamedSharding(mesh, PartitionSpec(BATCH))
    shape = BranchShape(max(model.buckets), round_up(rules * QUESTION), round_up(QUESTION), round_up(rules))
    count = rows_per_step(model.tokens_per_batch, shape, batch_shards(mesh))
    params = _params(cfg, mesh, model.dtype)
    head = params["embed"]
    if not cfg.tie_embeddings:
        of = declared.declare_lm_head(cfg)
        head = jax.ShapeDtypeStruct(of.shape, dtype, sharding=params["embed"].sharding)
    root = jax.eval_shape(functools.partial(run_root, cfg, dtype=dtype), params, _whole(mesh, ROOT))
    root = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), root)
    grid = [_rows(mesh, count, shape.tokens) for _ in range(3)]
    rows = BranchRows(*grid, _rows(mesh, count), _rows(mesh, count, shape.ends))
    with activate(mesh):
        compute = judge_program(cfg, dtype, where)
        lowered = compute.lower(params, head, root, rows, _whole(mesh, 8), shape.prefix, shape.longest)
    flops = step_flops(cfg, rows=count, length=shape.tokens, ends=0, rules=0, trainable="none")
    flops += 2 * cfg.width * cfg.vocab_size * count * shape.ends
    words = f"a judge, {count} conversations of {shape.prefix} tokens and {rules} rules at once"
    return Step(lowered, bytes_per_device((params, None if cfg.tie_embeddings else head)), flops, words)


def _params(cfg: DecoderConfig, mesh: Mesh, dtype: str) -> Any:
    return with_shardings(declared.abstract(cfg, jnp.dtype(dtype)), backbone_shardings(cfg, mesh))


def _whole(mesh: Mesh, *shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=replicated(mesh))


def _rows(mesh: Mesh, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=NamedSharding(mesh, PartitionSpec(BATCH)))
