"""What the backward pass keeps of a layer, and what it computes again; and how CPUs store what is kept."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from encore_jax.model.platform import platform

CUDNN_FORWARD = "dot_product_attention_fwd_wrapper"
"""jax's primitive for cuDNN's forward pass: its outputs are the attention and its log-sum-exp."""


def saves(*names: str):
    """A remat policy: keeps what is named so and, with "attention" among them, what cuDNN's kernel, which cannot be
    named, puts out."""
    named = jax.checkpoint_policies.save_only_these_names(*names)
    kernels = (CUDNN_FORWARD,) if "attention" in names else ()
    return lambda primitive, *avals, **params: primitive.name in kernels or named(primitive, *avals, **params)


REMAT = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "attention": saves("attention"),
    "dots": saves("projection"),
    "dots_and_attention": saves("projection", "attention"),
}
"""What the backward pass keeps of each layer: everything, only the layer's input, or besides that
input the outputs of attention (and what spares running its kernel again), of the seven projections, or of both."""


_INTEGERS = contextvars.ContextVar("integers", default=False)


@contextlib.contextmanager
def kept_as_integers() -> Iterator[None]:
    """What is traced inside may keep `bits`: a gradient that nobody differentiates again, since their own is 0."""
    before = _INTEGERS.set(True)
    try:
        yield
    finally:
        _INTEGERS.reset(before)


def named(x: jax.Array, name: str) -> jax.Array:
    """The array itself, which remat policies can keep by this name; in training on CPUs they keep its `bits`."""
    stored = bits(x)
    return checkpoint_name(x, name) if stored is None else from_bits(x, checkpoint_name(stored, name))


def bits(x: jax.Array) -> jax.Array | None:
    """A bfloat16 array as uint16 within `kept_as_integers` where the program is traced for CPUs, else None.

    A scan stacks what is kept of every layer, one slice after the other. XLA's CPU compiler has no bfloat16 update of a
    slice: for every layer it converts the whole stack to float32 and back, so that the time grows with the square of
    the number of layers. It writes integers in place.
    """
    if not _INTEGERS.get() or x.dtype != jnp.bfloat16 or platform() != "cpu":
        return None
    return lax.bitcast_convert_type(x, jnp.uint16)


@jax.custom_jvp
def from_bits(x: jax.Array, stored: jax.Array) -> jax.Array:
    """x, its values read from its `bits`: whoever keeps those need not keep x. First derivatives only."""
    return lax.bitcast_convert_type(stored, x.dtype)


@from_bits.defjvp
def _from_bits_jvp(primals, tangents):
    # Not `from_bits` again, whose unused x would be computed again in the backward pass.
    x, stored = primals
    return lax.bitcast_convert_type(stored, x.dtype), tangents[0]
