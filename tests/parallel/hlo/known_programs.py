"""Programs whose FLOPs per device are known by arithmetic, for whatever mesh; sizes are a TPU's tiles or multiples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

W = 128  # width of every square weight
LAYERS = 7


def array(mesh: Mesh, *shape, spec=(), dtype=jnp.float32):
    """A described array; `spec` names the mesh axis "x" where it is split."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*spec)))


def rows(mesh, dtype=jnp.float32):
    return array(mesh, W * mesh.size, W, spec=("x",), dtype=dtype)


def layer(x, w):
    return jnp.tanh(x @ w), None


def scanned(x, ws, f=layer):
    return lax.scan(f, x, ws)[0]


def matmul(mesh):
    return lambda x, w: x @ w, (rows(mesh), array(mesh, W, 2 * W)), 2 * W * W * 2 * W


def contraction_is_split(mesh):
    x = array(mesh, 16, W * mesh.size, spec=(None, "x"))
    return lambda x, w: x @ w, (x, array(mesh, W * mesh.size, W, spec=("x",))), 2 * 16 * W * W


def bfloat16(mesh):
    x, w = rows(mesh, jnp.bfloat16), array(mesh, W, W, dtype=jnp.bfloat16)
    return lambda x, w: jnp.dot(x, w, preferred_element_type=jnp.float32), (x, w), 2 * W**3


def batch(mesh):
    x = array(mesh, 3 * mesh.size, W, 2 * W, spec=("x",))
    y = array(mesh, 3 * mesh.size, 2 * W, W, spec=("x",))
    return lambda x, y: jnp.einsum("bij,bjk->bki", x, y), (x, y), 2 * 3 * W * 2 * W * W


def grouped_query(mesh):
    """Two query heads share a key head, as in attention."""
    q, k = array(mesh, mesh.size, 2, 2, W, 64, spec=("x",)), array(mesh, mesh.size, 2, W, 64, spec=("x",))
    return lambda q, k: jnp.einsum("bkgsh,bkth->bkgst", q, k), (q, k), 2 * 2 * 2 * W * W * 64


def scan(mesh):
    return scanned, (rows(mesh), array(mesh, LAYERS, W, W)), LAYERS * 2 * W**3


def nested_scan(mesh):
    def program(x, ws):
        return scanned(x, ws, lambda x, w: (scanned(x, w), None))

    return program, (rows(mesh), array(mesh, 3, 5, W, W)), 3 * 5 * 2 * W**3


def gradient(mesh):
    def program(x, ws):
        return jax.grad(lambda x, ws: jnp.sum(scanned(x, ws)), (0, 1))(x, ws)

    return program, (rows(mesh), array(mesh, LAYERS, W, W)), 3 * LAYERS * 2 * W**3


def rematerialised_gradient(mesh):
    def program(x, ws):
        f = jax.checkpoint(layer, policy=jax.checkpoint_policies.nothing_saveable, prevent_cse=False)
        return jax.grad(lambda x, ws: jnp.sum(scanned(x, ws, f)), (0, 1))(x, ws)

    return program, (rows(mesh), array(mesh, LAYERS, W, W)), 4 * LAYERS * 2 * W**3


def counts_by_two(mesh):
    """Runs for i = 3, 5, ..., 19."""

    def program(x, w):
        return lax.while_loop(lambda c: c[0] <= 20, lambda c: (c[0] + 2, layer(c[1], w)[0]), (3, x))[1]

    return program, (rows(mesh), array(mesh, W, W)), 9 * 2 * W**3


def larger_branch(mesh):
    def program(x, w):
        return lax.cond(jnp.sum(w) > 0, lambda: scanned(x, jnp.stack([w, w, w])), lambda: x @ w)

    return program, (rows(mesh), array(mesh, W, W)), 3 * 2 * W**3


def convolution(sizes, kernel, *, gradient=False, **options) -> Callable:
    """A convolution of NHWC images, on every device; every multiply-add of ones adds one to the result's sum.

    Each gradient, of images and of kernel, has as many multiply-adds as the convolution.
    """
    options.setdefault("dimension_numbers", ("NHWC", "HWIO", "NHWC"))

    def forward(x, k):
        return lax.conv_general_dilated(x, k, **options)

    def backward(x, k):
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(forward(x, k))), (0, 1))(x, k)

    macs = int(jnp.sum(forward(jnp.ones((2, *sizes)), jnp.ones(kernel))))

    def known(mesh):
        arguments = array(mesh, 2, *sizes), array(mesh, *kernel)
        return (backward, arguments, 6 * macs) if gradient else (forward, arguments, 2 * macs)

    return known


PRODUCTS = [
    matmul, contraction_is_split, bfloat16, batch, grouped_query, scan, nested_scan, gradient, rematerialised_gradient,
    counts_by_two, larger_branch,
]  # fmt: skip
CONVOLUTIONS = {
    "same": convolution((14, 12, 8), (3, 3, 8, 16), window_strides=(1, 1), padding="SAME"),
    "strided": convolution((15, 16, 8), (3, 2, 8, 16), window_strides=(2, 3), padding=((1, 2), (0, 1))),
    "dilated": convolution((15, 16, 8), (3, 2, 8, 16), window_strides=(1, 1), padding="VALID", rhs_dilation=(2, 3)),
    "transposed": convolution((7, 5, 8), (4, 3, 8, 16), window_strides=(1, 1), padding=((2, 2), (2, 1)),
                              lhs_dilation=(2, 3)),
    "grouped": convolution((9, 9, 8), (3, 3, 2, 16), window_strides=(1, 1), padding="SAME", feature_group_count=4),
    "cropped": convolution((9, 9, 8), (3, 3, 8, 16), window_strides=(1, 1), padding=((-1, -2), (0, 3))),
    "gradient": convolution((14, 12, 8), (3, 3, 8, 16), window_strides=(1, 1), padding="SAME", gradient=True),
    "grouped gradient": convolution((9, 9, 8), (3, 3, 2, 16), window_strides=(1, 1), padding="SAME",
                                    feature_group_count=4, gradient=True),
}  # fmt: skip


def lower(known: Callable, mesh: Mesh) -> tuple[jax.stages.Lowered, int]:
    """The lowered program and its FLOPs per device."""
    program, arguments, flops = known(mesh)
    with jax.set_mesh(mesh):
        return jax.jit(program).lower(*arguments), flops
