"""Matrix products in the compute type with fp32 accumulation, in both directions."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from encore_jax.model.platform import platform
from encore_jax.model.remat import named


def project(x: jax.Array, w: jax.Array, axes: int = 1) -> jax.Array:
    """Contracts the last ``axes`` axes of x with the first ``axes`` axes of w.

    The product is computed in x's dtype (w is cast to it) and accumulated in fp32; so are both
    products of the backward pass, and the gradient of w leaves in w's own dtype, unrounded for
    fp32 weights. (Autodiff alone would promote the backward products of bf16 operands to fp32.)
    The result carries the checkpoint name ``projection``, by which remat policies can keep it.

    >>> project(jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 4, 5))).shape
    (2, 4, 5)
    """
    return named(_project(axes, x, w), "projection")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _project(axes, x, w):
    dims = (tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes)))
    return product(x, w.astype(x.dtype), dims).astype(x.dtype)


def _forward(axes, x, w):
    return _project(axes, x, w), (x, w)


def _backward(axes, residual, g):
    x, w = residual
    batch, out = x.ndim - axes, w.ndim - axes
    over_out = (tuple(range(batch, batch + out)), tuple(range(axes, axes + out)))
    dx = product(g, w.astype(g.dtype), over_out).astype(x.dtype)
    return dx, _over_batch(x, g, batch).astype(w.dtype)


def _over_batch(x, g, batch):
    """The product of x and g over their first `batch` axes: the gradient of a matrix."""
    if x.dtype == jnp.float32 and platform() == "cpu":
        # As two matrices: of more axes XLA's CPU compiler transposes x first, in a loop that also computes x again.
        flat = (a.reshape(math.prod(a.shape[:batch]), -1) for a in (x, g))
        return product(*flat, ((0,), (0,))).reshape(*x.shape[batch:], *g.shape[batch:])
    dims = tuple(range(batch))
    return product(x, g, (dims, dims))


_project.defvjp(_forward, _backward)


def product(a: jax.Array, b: jax.Array, dims) -> jax.Array:
    """The fp32 product of two arrays of one dtype, contracted over ``dims = (of a, of b)``."""
    # Without this, TPUs would round fp32 operands to bf16.
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return lax.dot_general(a, b, (dims, ((), ())), precision=precision, preferred_element_type=jnp.float32)
