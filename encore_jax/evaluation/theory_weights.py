"""Claims about Bradley-Terry weights: the zero-weight theorem, and where each of its assumptions is needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.theory_claims import Claim, Row, repeated
from encore_jax.train.bradley_terry import bradley_terry_weights


@functools.partial(jax.jit, static_argnames=("pairs", "repeats"))
def fitted_weights(mean, root, key, pairs: int, repeats: int):
    """Bradley-Terry weights ``[repeats, K]`` fitted to `pairs` normal margins each, of covariance ``root @ root.T``."""

    def one(repeat):
        margin = mean[None] + jax.random.normal(repeat, (pairs, len(mean))) @ root.T
        return bradley_terry_weights(margin, 1e-7)

    return jax.lax.map(one, jax.random.split(key, repeats))


def bradley_terry_rows(names: Sequence[str], mean, covariance, key, pairs: int, repeats: int) -> list[Row]:
    """Fitted weights beside 2 C⁻¹ m; the small-sample bias of the fit, of order weights / pairs, is forgiven."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    expected = closed.bradley_terry_optimum(mean, covariance)
    root = np.linalg.cholesky(covariance)
    fitted = fitted_weights(*(jnp.asarray(x, jnp.float32) for x in (mean, root)), key, pairs, repeats)
    rows = [
        repeated(f"weight of {name}", w, fits)
        for name, w, fits in zip(names, expected, np.asarray(fitted).T, strict=True)
    ]
    single = closed.bradley_terry_standard_error(expected, mean, covariance, pairs)
    spread = np.asarray(fitted).std(0, ddof=1)
    relative = math.sqrt(1 / (2 * (repeats - 1)))
    rows += [
        Row(f"spread of the fits of {name}", float(se), float(sd), float(se * relative), freedom=repeats - 1)
        for name, se, sd in zip(names, single, spread, strict=True)
    ]
    return rows


def zero_weight(key, pairs: int, repeats: int) -> Claim:
    """The theorem itself."""
    rows = bradley_terry_rows(
        ("a rule with signal", "a noise rule"), [1.0, 0.0], [[0.6, 0.0], [0.0, 1.0]], key, pairs, repeats
    )
    return Claim(
        "zero-weight",
        "A rule of pure noise gets weight 0 from preferences",
        "Margins of the noise rule have mean 0 and are independent of the other rules' margins; here both are normal.",
        "w* = 2 C⁻¹ m, so the noise rule's optimal weight is 0 whatever the other rule is worth; fits scatter about it "
        "with the standard error of the Fisher information.",
        tuple(rows),
    )


def any_start(key, pairs: int) -> Claim:
    """Gradient descent from several starts."""
    noise = jax.random.normal(key, (pairs, 2))
    margin = noise * jnp.sqrt(jnp.array([[0.6, 1.0]])) + jnp.array([[1.0, 0.0]])

    def loss(w):
        return -jax.nn.log_sigmoid(margin @ w).mean()

    def descend(w):
        return jax.lax.fori_loop(0, 4000, lambda _, w: w - 1.5 * jax.grad(loss)(w), w)

    starts = jnp.array([[0.0, 0.0], [1.0, 1.0], [-2.0, 3.0], [5.0, -4.0]])
    ends = np.asarray(jax.jit(jax.vmap(descend))(starts))
    optimum = np.asarray(bradley_terry_weights(margin, 1e-7))
    rows = [
        Row(f"distance from the optimum, started at ({a:g}, {b:g})", 0.0, float(abs(end - optimum).max()), 5e-4)
        for (a, b), end in zip(np.asarray(starts), ends, strict=True)
    ]
    curvature = np.asarray(jax.hessian(loss)(jnp.asarray(optimum)))
    rows.append(Row("smallest curvature of the loss", 0.0, float(np.linalg.eigvalsh(curvature)[0]), 1e-6, ">"))
    return Claim(
        "any-start",
        "The optimum is reached from any start",
        "The loss is strictly convex where every rule's margins vary.",
        "Gradient descent ends at the same weights wherever it starts.",
        tuple(rows),
    )


def theorem_limits(key, pairs: int, repeats: int) -> list[Claim]:
    """Where each assumption is needed."""
    shifted, dependent = jax.random.split(key)
    return [
        Claim(
            "shifted-noise",
            "Noise with a constant lean towards the preferred response gets weight",
            "As in the theorem, but the noise rule's margins have mean 0.3.",
            "w* = 2 C⁻¹ m is no longer 0: it is 2 · 0.3 / 1.",
            tuple(
                bradley_terry_rows(
                    ("a rule with signal", "a leaning rule"),
                    [1.0, 0.3],
                    [[0.6, 0.0], [0.0, 1.0]],
                    shifted,
                    pairs,
                    repeats,
                )
            ),
        ),
        Claim(
            "dependent-noise",
            "Noise that another rule shares gets a negative weight, because it cancels that rule's errors",
            "As in the theorem, but the noise also disturbs the rule with signal: correlation 0.52.",
            "w* = 2 C⁻¹ m: the rule that predicts nothing by itself gets a weight well below 0.",
            tuple(
                bradley_terry_rows(
                    ("a rule with signal", "the shared noise"),
                    [1.0, 0.0],
                    [[0.6, 0.4], [0.4, 1.0]],
                    dependent,
                    pairs,
                    repeats,
                )
            ),
        ),
    ]


def weight_claims(key, pairs: int, repeats: int) -> list[Claim]:
    """All of them."""
    theorem, start, limits = jax.random.split(key, 3)
    return [
        zero_weight(theorem, pairs, repeats),
        any_start(start, min(pairs, 5_000)),
        *theorem_limits(limits, pairs, repeats),
    ]
