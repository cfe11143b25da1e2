"""ArmoRM's gate (Wang et al. 2024, arXiv 2406.12845, stage 2): rule weights that depend on the prompt.

Stage 1 are the rule heads of `encore_jax.train.ridge`. Stage 2 is a small network on the prompt's embedding, here the
backbone's feature at the last token before the answer begins:

    g = s · softmax(MLP(embedding) / T),        reward(x, y) = Σ_k g_k(x) score_k(x, y)

with three hidden layers, ReLU, dropout, and a learnable scale s, trained on preferences by the Bradley-Terry loss with
AdamW and a cosine schedule while backbone and heads stay as they are.

The published s begins at 1, and 2,000 cosine steps of 1e-3 can move it by 1. Where margins are small against that, as
those of scores between 0 and 1 are, the loss is almost linear in g, and what is linear on a simplex is least at a
corner: the gate ends on the one rule of largest mean margin, whatever the prompt. `balanced_scale` is a start without
this.

Letters: P prompts, D features, N comparisons, K rules.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from encore_jax.composition.weights import softmax_over
from encore_jax.errors import InputError
from encore_jax.train.settings import GateSettings

STEPS_AT_ONCE = 100
"""Optimizer steps in one call; progress shows in between."""


def init_gate(key: Array, features: int, rules: int, settings: GateSettings) -> dict[str, Any]:
    """Parameters: uniform within ±1/sqrt(inputs), weights and biases alike, and the scale."""
    widths = (features, *[settings.width] * settings.layers, rules)
    layers = []
    for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        bound = before**-0.5
        kernel_key, bias_key = jax.random.split(jax.random.fold_in(key, i))
        layers.append(
            {
                "kernel": jax.random.uniform(kernel_key, (before, after), jnp.float32, -bound, bound),
                "bias": jax.random.uniform(bias_key, (after,), jnp.float32, -bound, bound),
            }
        )
    return {"layers": layers, "scale": jnp.full((), settings.scale, jnp.float32)}


def gate_weights(
    params: dict[str, Any],
    embedding_PxD: Float[Array, "P D"],
    temperature: float,
    dropout: float = 0.0,
    key: Array | None = None,
) -> Float[Array, "P K"]:
    """Rule weights ``[P, K]`` of every prompt, positive, summing to the scale; with dropout if there is a key."""
    x = embedding_PxD
    *hidden, last = params["layers"]
    for i, layer in enumerate(hidden):
        x = jax.nn.relu(jnp.matmul(x, layer["kernel"], precision="highest") + layer["bias"][None])
        if key is not None:
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout, x.shape)
            x = jnp.where(keep, x / (1 - dropout), 0)
    logits = jnp.matmul(x, last["kernel"], precision="highest") + last["bias"][None]
    return params["scale"] * softmax_over(logits, temperature)


def balanced_scale(margins: Float[np.ndarray, "N K"]) -> float:
    """The scale at which equal weights give margins of root mean square 1, where the loss tells weightings apart.

    Args:
      margins: per-rule score of the preferred response minus that of the other; which one is preferred changes nothing.

    Raises:
      InputError: all equally weighted margins are 0.

    >>> round(balanced_scale(np.array([[0.2, 0.0], [-0.1, -0.1]], np.float32)), 4)
    10.0
    """
    spread = float(np.sqrt((np.asarray(margins, np.float64).mean(1) ** 2).mean()))
    if not spread > 0:
        raise InputError(
            "every comparison is a tie under equal weights", where="balanced_scale", fix="give GateSettings.scale"
        )
    return 1 / spread


def _optimizer(lr: float, steps: int, weight_decay: float) -> optax.GradientTransformation:
    return optax.adamw(optax.cosine_decay_schedule(lr, max(steps, 1)), weight_decay=weight_decay)


@functools.partial(jax.jit, static_argnames=("batch", "temperature", "dropout", "optimizer", "steps"))
def _train(params, state, embedding, prompt, margins, key, *, batch, temperature, dropout, optimizer, steps):
    """`optimizer` holds the arguments of `_optimizer`: another object of the same would be compiled again."""
    optimizer = _optimizer(*optimizer)
    few_prompts = embedding.shape[0] <= batch

    def loss_of(params, rows, key):
        if few_prompts:  # every prompt once, however many comparisons of the batch share it
            weights = gate_weights(params, embedding, temperature, dropout, key)[prompt[rows]]
        else:
            weights = gate_weights(params, embedding[prompt[rows]], temperature, dropout, key)
        return -jax.nn.log_sigmoid((weights * margins[rows]).sum(-1)).mean()

    def one(carry, step_key):
        params, state = carry
        row_key, drop_key = jax.random.split(step_key)
        rows = jax.random.randint(row_key, (batch,), 0, margins.shape[0])
        loss, gradient = jax.value_and_grad(loss_of)(params, rows, drop_key)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer step counts
            updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), loss

    (params, state), losses = jax.lax.scan(one, (params, state), jax.random.split(key, steps))
    return params, state, losses


def fit_gate(
    embedding: Float[np.ndarray, "P D"],
    prompt: Int[np.ndarray, " N"],
    margins: Float[np.ndarray, "N K"],
    settings: GateSettings,
    seed: int,
    track: Callable[[Iterable[int], float], Iterable[int]] = lambda chunks, total: chunks,
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains a gate on preferences.

    Args:
      embedding: fp32 ``[P, D]`` of P prompts.
      prompt: ``[N]``, the prompt of each comparison.
      margins: fp32 ``[N, K]``, per-rule score of the preferred response minus that of the other.
      settings: the recipe.
      seed: of initialisation, batches and dropout.
      track: wraps the chunks of steps to show progress, given their number.

    Returns:
      The parameters, and the loss of every step.

    Raises:
      InputError: no comparison, an embedding or margin that is not finite, or training that diverges.
    """
    embedding, margins = jnp.asarray(embedding, jnp.float32), jnp.asarray(margins, jnp.float32)
    for name, array in (("embedding", embedding), ("margins", margins)):
        if not array.size or not bool(jnp.isfinite(array).all()):
            raise InputError(f"{name} {array.shape} must be finite, and not empty", where="fit_gate")
    init_key, train_key = jax.random.split(jax.random.key(seed))
    params = init_gate(init_key, embedding.shape[1], margins.shape[1], settings)
    optimizer = (settings.lr, settings.steps, settings.weight_decay)
    state, losses = _optimizer(*optimizer).init(params), [np.zeros(0, np.float32)]
    starts = range(0, settings.steps, STEPS_AT_ONCE)
    for start in track(starts, float(len(starts))):
        params, state, some = _train(
            params, state, embedding, jnp.asarray(prompt), margins, jax.random.fold_in(train_key, start),
            batch=settings.batch, temperature=settings.temperature, dropout=settings.dropout,
            optimizer=optimizer, steps=min(STEPS_AT_ONCE, settings.steps - start),
        )  # fmt: skip
        losses.append(np.asarray(some))
        if not np.isfinite(losses[-1]).all():
            raise InputError(
                f"the loss is not finite within the first {start + len(losses[-1])} steps",
                where="fit_gate",
                fix="lower the learning rate (lr) or the scale",
            )
    return params, np.concatenate(losses)
