"""A training run as one compiled program: model, optimizer, mesh, and the shapes of everything it touches.

What runs on a pod is what `lower` compiles ahead of time on a laptop: the same step, shapes and shardings.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from encore_jax.data.prefix_tree import TreeBatch
from encore_jax.errors import InputError
from encore_jax.model import params as declared
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.heads import init_heads
from encore_jax.model.lora import Lora, declare_lora, init_lora
from encore_jax.parallel.flops import step_flops
from encore_jax.parallel.mesh import activate, batch_shards, platform_of, replicated
from encore_jax.train.gradient import Totals, TrainBatch, batch_scores, batch_totals, step_function
from encore_jax.train.optimizer import transformation
from encore_jax.train.packing import Shape, step_shape
from encore_jax.train.settings import TrainSettings
from encore_jax.train.sharded import (
    batch_shardings,
    check_divides,
    param_shardings,
    place,
    state_shardings,
    with_shardings,
)
from encore_jax.train.state import TrainState, make_state


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Everything static about a training run; see `make_program`.

    Attributes:
      cfg, rules: the backbone, and K, the number of heads.
      settings, shape: how it is trained; the shape of a step.
      mesh: the devices.
      backbone, lora, optimizer: modules and transformations.
      param_dtype: of the backbone's parameters.
    """

    cfg: DecoderConfig
    rules: int
    settings: TrainSettings
    shape: Shape
    mesh: Mesh
    backbone: Backbone
    lora: Lora | None
    optimizer: optax.GradientTransformation
    param_dtype: Any

    @functools.cached_property
    def param_shardings(self) -> dict[str, Any]:
        """Where the parameters lie."""
        return param_shardings(self.cfg, self.mesh, self.lora)

    @functools.cached_property
    def abstract_params(self) -> dict[str, Any]:
        """Shapes and dtypes of the parameters: the backbone's as configured, heads and updates fp32."""
        heads = jax.eval_shape(lambda key: init_heads(key, self.cfg.width, self.rules), jax.random.key(0))
        params = {"backbone": declared.abstract(self.cfg, self.param_dtype), "heads": heads}
        if self.lora:
            updates = declare_lora(self.cfg, self.lora)
            params["lora"] = {name: jax.ShapeDtypeStruct(p.shape, jnp.float32) for name, p in updates.items()}
        return params

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the training state."""
        state = jax.eval_shape(self._make_state, self.abstract_params)
        return with_shardings(state, state_shardings(state, self.optimizer, self.param_shardings, self.mesh))

    @functools.cached_property
    def abstract_batch(self) -> TrainBatch:
        """Shapes, dtypes and shardings of the stacked batch of one step."""
        a, b, s, m = self.shape

        def array(*shape, dtype=jnp.int32):
            return jax.ShapeDtypeStruct((a, *shape), dtype)

        trees = TreeBatch(*(array(b, s) for _ in range(4)), *(array(m) for _ in range(3)))
        scores, flags = array(m, self.rules, dtype=jnp.float32), array(m, self.rules, dtype=bool)
        pairs = (array(m), array(m), array(m, dtype=bool), array(m, dtype=jnp.float32))
        return with_shardings(TrainBatch(trees, scores, flags, *pairs), batch_shardings(self.mesh))

    @functools.cached_property
    def jitted_step(self) -> Callable:
        """The step under `jax.jit`: donated state, pinned shardings."""
        where = jax.tree.map(lambda x: x.sharding, self.abstract_state)
        step = step_function(
            self.backbone,
            self.optimizer,
            self.settings,
            lambda gradient: jax.lax.with_sharding_constraint(gradient, where.trainable),
        )
        return jax.jit(step, donate_argnums=0, out_shardings=(where, replicated(self.mesh)))

    def step(self, state: TrainState, batch: TrainBatch, weights: Array) -> tuple[TrainState, dict[str, Array]]:
        """One optimizer step on a placed batch; the state is donated."""
        with activate(self.mesh):
            return self.jitted_step(state, batch, weights)

    @functools.cached_property
    def flops(self) -> int:
        """Of one step on all devices together, by arithmetic."""
        return step_flops(
            self.cfg,
            rows=self.settings.rows,
            length=self.settings.length,
            ends=self.shape.ends * self.shape.micro_batches,
            rules=self.rules,
            trainable=self.settings.trainable,
            adapters=sum(math.prod(x.shape) for x in jax.tree.leaves(self.abstract_params.get("lora", {}))),
        )

    def lower(self) -> jax.stages.Lowered:
        """The step, traced and lowered for the mesh's devices, which need not exist."""
        weights = jax.ShapeDtypeStruct((self.rules,), jnp.float32, sharding=replicated(self.mesh))
        # All made before the mesh is active: even an abstract state needs a random key, and these devices compute none.
        step, state, batch = self.jitted_step, self.abstract_state, self.abstract_batch
        with activate(self.mesh):
            return step.lower(state, batch, weights)

    def place(self, batch: TrainBatch) -> TrainBatch:
        """A stacked host batch on the devices."""
        return place(batch, batch_shardings(self.mesh))

    def replicated(self, tree: Any) -> Any:
        """Arrays, whole, on every device (and so on every process)."""
        return jax.jit(lambda x: x, out_shardings=replicated(self.mesh))(tree)

    @functools.cached_property
    def _jitted_totals(self) -> Callable:
        return jax.jit(functools.partial(batch_totals, self.backbone, settings=self.settings))

    def totals(self, params: dict[str, Any], batch: TrainBatch, weights: Array) -> Totals:
        """Loss and accuracy of one unstacked host batch, without a gradient."""
        with activate(self.mesh):
            return self._jitted_totals(params, place(batch, batch_shardings(self.mesh, stacked=False)), weights)

    def scores(self, params: dict[str, Any], batch: TrainBatch) -> Array:
        """Scores ``[M, K]`` of one unstacked host batch's branch ends, whole on every process."""
        with activate(self.mesh):
            return _jitted_scores(self.backbone, self.mesh)(
                params, place(batch, batch_shardings(self.mesh, stacked=False)).trees
            )

    def start(self, backbone: Any, key: Array, bias: Any = None, kernel: Any = None) -> TrainState:
        """The state at step 0: the given backbone, fresh heads and updates, zero moments.

        Args:
          backbone: loaded with `param_shardings["backbone"]`.
          key: of the fresh parameters.
          bias: where the heads' offsets start, ``[K]``; zero if left out.
          kernel: where the heads start, ``[D, K]``; drawn if left out.
        """
        params = {"backbone": backbone} | self._jitted_fresh(*jax.random.split(key))
        for name, given in (("bias", bias), ("kernel", kernel)):
            if given is not None:
                where = self.param_shardings["heads"][name]
                params["heads"][name] = jax.device_put(jnp.asarray(given, jnp.float32), where, may_alias=False)
        state = jax.eval_shape(self._make_state, params)
        parts = {name: params[name] for name in state.trainable}
        moments, step = self._jitted_zero(parts)
        return TrainState(step, parts, moments, {name: params[name] for name in state.frozen})

    @functools.cached_property
    def _jitted_fresh(self) -> Callable:
        def fresh(heads_key, lora_key):
            heads = init_heads(heads_key, self.cfg.width, self.rules)
            return {"heads": heads} | ({"lora": init_lora(self.cfg, self.lora, lora_key)} if self.lora else {})

        return jax.jit(fresh, out_shardings={k: v for k, v in self.param_shardings.items() if k != "backbone"})

    @functools.cached_property
    def _jitted_zero(self) -> Callable:
        where = jax.tree.map(lambda x: x.sharding, self.abstract_state)
        zero = lambda parts: (self.optimizer.init(parts), jnp.zeros((), jnp.int32))  # noqa: E731
        return jax.jit(zero, out_shardings=(where.optimizer, where.step))

    def _make_state(self, params: dict[str, Any]) -> TrainState:
        return make_state(params, self.settings.trainable, self.optimizer)


@functools.lru_cache(maxsize=4)
def _jitted_scores(backbone: Backbone, mesh: Mesh) -> Callable:
    """Scores depend on no loss and no schedule, so programs that differ in these alone share what is compiled."""
    return jax.jit(functools.partial(batch_scores, backbone), out_shardings=replicated(mesh))


def make_program(
    cfg: DecoderConfig, rules: int, settings: TrainSettings, mesh: Mesh, *, steps: int, dtype: Any
) -> Program:
    """The program of a training run; whoever asks for the same again gets the same, and compiles nothing twice.

    Args:
      cfg: the backbone.
      rules: K heads.
      settings: how it is trained.
      mesh: the devices, real or only described (even a `jax.sharding.AbstractMesh`, for exporting).
      steps: length of the learning-rate schedule.
      dtype: compute type. A backbone that is trained is kept in fp32 (master weights), and so is a frozen one on CPUs,
        whose products are quicker so; elsewhere a frozen one is kept in the compute type.

    Raises:
      InputError: rows or parameters that do not divide over the devices, or settings that do not fit together.
    """
    values = tuple(tuple(value) if isinstance(value, list) else value for value in dataclasses.astuple(settings))
    return _made(cfg, rules, type(settings), values, mesh, steps, jnp.dtype(dtype))


@functools.lru_cache(maxsize=4)
def _made(
    cfg: DecoderConfig, rules: int, kind: type[TrainSettings], values: tuple, mesh: Mesh, steps: int, dtype: Any
) -> Program:
    settings = kind(*values).freeze()
    shape = step_shape(settings)
    shards = batch_shards(mesh)
    if shape.rows % shards:
        raise InputError(
            f"{shape.rows} rows of a micro-batch do not divide over {shards} devices",
            where="train.rows",
            fix=f"make rows / accumulate a multiple of {shards}, or use another mesh",
        )
    lora = None
    if settings.trainable == "lora":
        lora = Lora(settings.lora_rank, settings.lora_scale, tuple(settings.lora_targets))
    remat = "none" if settings.trainable == "heads" else settings.remat
    backbone = Backbone(cfg, dtype=jnp.dtype(dtype), remat=remat, attention=settings.attention, lora=lora)
    masters = settings.trainable == "all" or platform_of(mesh) == "cpu"
    param_dtype = jnp.float32 if masters else jnp.dtype(dtype)
    optimizer = transformation(settings, steps)
    program = Program(cfg, rules, settings, shape, mesh, backbone, lora, optimizer, param_dtype)
    check_divides(program.abstract_params, program.param_shardings)
    return program
