"""The optimizer of a training run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from encore_jax.train.settings import OptimizerSettings


def schedule(settings: OptimizerSettings, steps: int) -> optax.Schedule:
    """Linear warm-up to the peak, cosine decay to zero at the last step.

    >>> rate = schedule(OptimizerSettings(lr=1.0, warmup=0.1), 100)
    >>> [round(float(rate(step)), 3) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warm = max(1, round(settings.warmup * steps))
    return optax.warmup_cosine_decay_schedule(0.0, settings.lr, warm, max(steps, warm + 1))


def transformation(settings: OptimizerSettings, steps: int) -> optax.GradientTransformation:
    """The optax optimizer for a run of so many steps."""
    adam = optax.adamw(
        schedule(settings, steps),
        b1=settings.b1,
        b2=settings.b2,
        weight_decay=settings.weight_decay,
        mask=lambda params: jax.tree.map(lambda p: p.ndim >= 2, params),
        mu_dtype=jnp.dtype(settings.first_moment),
    )
    return optax.chain(optax.clip_by_global_norm(settings.clip), adam) if settings.clip else adam
