"""What the backward pass keeps of a layer, and what it computes again."""

import jax

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
