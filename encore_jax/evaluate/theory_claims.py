"""Claims of the theory, each with assumption, prediction, measurement and a verdict that the measurement decides."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import entropy_weights, margin_accuracy, rating_entropy
from encore_jax.evaluate import theory_closed as closed
from encore_jax.judge.simulated import answers
from encore_jax.train.bradley_terry import bradley_terry_weights

STANDARD_ERRORS = 4.0
"""A prediction is met if it lies within so many standard errors: of 100 true rows, one in 150 reports strays."""
ROUNDING = 2e-4
"""And this is forgiven besides: fp32, and the plug-in estimator's bias."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One prediction beside its measurement.

    Attributes:
      what: the quantity.
      predicted, measured, error: closed form, mean of repeated simulations, its standard error.
      relation: "=": measured must equal predicted; "<" or ">": it must lie beyond it, by more than chance.
    """

    what: str
    predicted: float
    measured: float
    error: float
    relation: str = "="

    @property
    def met(self) -> bool:
        gap, slack = self.measured - self.predicted, STANDARD_ERRORS * self.error
        if self.relation == "=":
            return bool(abs(gap) <= slack + ROUNDING)
        return bool(gap < -slack if self.relation == "<" else gap > slack)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement, on what it rests, what it predicts, what was measured."""

    name: str
    title: str
    assumption: str
    prediction: str
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> str:
        """ "confirmed" if every row is met, else "contradicted"."""
        return "confirmed" if self.rows and all(row.met for row in self.rows) else "contradicted"

    def plain(self) -> dict:
        """Ready for JSON."""
        rows = [dataclasses.asdict(row) | {"met": row.met} for row in self.rows]
        met = sum(row["met"] for row in rows)
        return dataclasses.asdict(self) | {"rows": rows, "verdict": self.verdict, "met": met}


def repeated(what: str, predicted: float, samples: Sequence[float], relation: str = "=") -> Row:
    """A row from the outcomes of repeated simulations."""
    samples = np.asarray(samples, np.float64)
    return Row(
        what, float(predicted), float(samples.mean()), float(samples.std(ddof=1) / math.sqrt(len(samples))), relation
    )


# The zero-weight theorem


@functools.partial(jax.jit, static_argnames=("pairs", "repeats"))
def fitted_weights(mean, covariance, key, pairs: int, repeats: int):
    """Bradley-Terry weights ``[repeats, K]`` fitted to `pairs` normal margins each."""
    root = jnp.linalg.cholesky(covariance)

    def one(repeat):
        margin = mean[None] + jax.random.normal(repeat, (pairs, len(mean))) @ root.T
        return bradley_terry_weights(margin, 1e-7)

    return jax.lax.map(one, jax.random.split(key, repeats))


def bradley_terry_rows(names: Sequence[str], mean, covariance, key, pairs: int, repeats: int) -> list[Row]:
    """Fitted weights beside 2 C⁻¹ m; the small-sample bias of the fit, of order weights / pairs, is forgiven."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    expected = closed.bradley_terry_optimum(mean, covariance)
    fitted = fitted_weights(*(jnp.asarray(x, jnp.float32) for x in (mean, covariance)), key, pairs, repeats)
    rows = [
        repeated(f"weight of {name}", w, fits)
        for name, w, fits in zip(names, expected, np.asarray(fitted).T, strict=True)
    ]
    single = closed.bradley_terry_standard_error(expected, mean, covariance, pairs)
    spread = np.asarray(fitted).std(0, ddof=1)
    relative = math.sqrt(1 / (2 * (repeats - 1)))
    rows += [
        Row(f"spread of the fits of {name}", float(se), float(sd), float(se * relative))
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
        "w* = 2 C⁻¹ m, so the noise rule's optimal weight is 0 whatever the other rule is worth; fits scatter around it "
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


# Where the entropy argument breaks


def shifted_uniform(key, pairs: int, repeats: int) -> Claim:
    """U and U + 0.02: near-maximal entropy, perfect accuracy."""
    shift, bins = 0.02, 10
    edges = np.linspace(0, 1, bins + 1)
    share = lambda low: (
        (np.clip(edges[1:], low, low + 1 - shift) - np.clip(edges[:-1], low, low + 1 - shift)) / (1 - shift)
    )  # noqa: E731
    predicted = closed.entropy((share(0.0) + share(shift)) / 2)
    entropies, accuracies = [], []
    for repeat in jax.random.split(key, repeats):
        other = jax.random.uniform(repeat, (pairs,), maxval=1 - shift)
        ratings = jnp.stack([other + shift, other], 1)[..., None]
        entropies.append(float(rating_entropy(ratings, bins=bins)[0]))
        accuracies.append(float(margin_accuracy(ratings[:, 0] - ratings[:, 1]).ties_half[0]))
    return Claim(
        "shifted-uniform",
        "High entropy does not imply low accuracy",
        "A rule rates the other response U, uniform on [0, 0.98], and the preferred one U + 0.02; 10 bins.",
        f"Its entropy is {predicted:.4f} nats, {100 * predicted / math.log(bins):.1f} % of the most possible, and its accuracy is 1.",
        (
            repeated("entropy, nats", predicted, entropies),
            repeated("accuracy", 1.0, accuracies),
            repeated("share of the maximal entropy", 0.99, np.array(entropies) / math.log(bins), ">"),
        ),
    )


def constant_rule(key, pairs: int, repeats: int) -> Claim:
    """A rule that never varies."""
    levels, tau = 11, 2.0
    good = closed.answer_distribution(1.0, 0.3, "guess", levels)
    bad = closed.answer_distribution(0.0, 0.3, "guess", levels)
    h = closed.entropy((good + bad) / 2)
    expected = closed.softmax_weights(np.array([0.0, h]), tau)[0]
    weights, accuracies = [], []
    for repeat in jax.random.split(key, repeats):
        quality = jnp.tile(jnp.array([1.0, 0.0]), pairs)
        chance = jax.random.uniform(repeat, (2, 2 * pairs, 1))
        useful = answers(quality, jnp.array([0.3]), chance, "guess", levels)
        ratings = jnp.concatenate([jnp.full_like(useful, 0.5), useful], 1)
        h_of = jnp.asarray(_quiet_entropy(ratings, levels))
        weights.append(float(entropy_weights(h_of, tau)[0]))
        accuracies.append(float(margin_accuracy(ratings[0::2, 0] - ratings[1::2, 0]).ties_half))
    return Claim(
        "constant-rule",
        "A rule that never varies gets the largest weight and knows nothing",
        "One rule always answers 0.5; the other guesses in 30 % of its answers; 11 levels, τ = 2 nats.",
        f"The constant rule has entropy 0, so its weight is 1 / (1 + exp(-H/τ)) = {expected:.3f}, above one half; its accuracy is 0.5, all ties.",
        (
            repeated("weight of the constant rule", expected, weights),
            repeated("weight of the constant rule, above one half", 0.5, weights, ">"),
            repeated("accuracy of the constant rule", 0.5, accuracies),
        ),
    )


def _quiet_entropy(ratings, levels: int) -> np.ndarray:
    import warnings

    from encore_jax.composition import RatingsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatingsWarning)  # the claim is about what the warning warns of
        return np.asarray(rating_entropy(ratings, levels=levels))


def discretisation(key, pairs: int, repeats: int) -> Claim:
    """The largest possible ratio of weights by the number of levels."""
    tau, rows = 2.0, []
    for levels in (2, 5, 10, 11, 101):
        ratios = []
        for repeat in jax.random.split(key, repeats):
            even = jax.random.randint(repeat, (2 * pairs, 1), 0, levels).astype(jnp.float32) / (levels - 1)
            ratings = jnp.concatenate([jnp.zeros_like(even), even], 1)
            weights = np.asarray(entropy_weights(jnp.asarray(_quiet_entropy(ratings, levels)), tau))
            ratios.append(weights[0] / weights[1])
        rows.append(repeated(f"largest ratio of weights, {levels} levels", math.sqrt(levels), ratios))
    return Claim(
        "discretisation",
        "The number of levels bounds what entropy weights can do",
        "Entropy lies between 0 and log L on L levels; τ = 2 nats.",
        "The largest possible ratio of two weights is exp(log L / τ) = √L.",
        tuple(
            # the plug-in estimator's bias (L - 1) / 2n lowers the entropy by this much; it grows with L
            dataclasses.replace(
                row, error=row.error + row.predicted * (row.predicted**2 - 1) / (8 * pairs) / STANDARD_ERRORS
            )
            for row in rows
        ),
    )
