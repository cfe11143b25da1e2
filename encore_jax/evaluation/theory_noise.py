"""Claims about noise: when it raises a judge's entropy as it lowers his accuracy, and when it does not."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import entropy_of_counts, level_edges, margin_accuracy, rating_counts
from encore_jax.composition.ties import is_tie, sign
from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.simulated_judges import answers, whole_steps
from encore_jax.evaluation.theory_claims import Claim, repeated

LEVELS = 11


@functools.partial(jax.jit, static_argnames=("noise", "levels"))
def simulated_answers(quality, strength, chance, noise: str, levels: int):
    """`simulated_judges.answers`, and besides the judge who refuses: the lowest level with probability λ."""
    if noise == "refuse":
        return jnp.where(chance[0] < strength[None], 0.0, quality[:, None])
    return answers(quality, strength, chance, noise, levels)


@functools.partial(jax.jit, static_argnames=("noise", "levels", "pairs", "repeats"))
def measured_judges(strength, base_rate, key, noise: str, levels: int, pairs: int, repeats: int):
    """Entropy and accuracy ``[repeats, K]`` of judges on good (1) and bad (0) responses.

    Counts of both kinds are mixed at the base rate of good responses.
    """
    edges = jnp.asarray(level_edges(levels), jnp.float32)

    def one(repeat):
        keys = jax.random.split(repeat)
        good, bad = (
            simulated_answers(
                jnp.full(pairs, q), strength, jax.random.uniform(k, (2, pairs, len(strength))), noise, levels
            )
            for q, k in zip((1.0, 0.0), keys, strict=True)
        )
        counts = [rating_counts(ratings, jnp.ones(ratings.shape, bool), edges) for ratings in (good, bad)]
        entropy = entropy_of_counts(base_rate * counts[0] + (1 - base_rate) * counts[1])
        return entropy, margin_accuracy(whole_steps(good - bad, levels)).ties_half

    return jax.lax.map(one, jax.random.split(key, repeats))


def noise_claim(
    name: str,
    title: str,
    prediction: str,
    key,
    noise: str,
    strengths: Sequence[float],
    base_rate: float,
    sign: str,
    sizes,
) -> Claim:
    """Entropies and accuracies of judges beside closed forms; their correlation must lie on the stated side of 0.

    Args:
      name, title, prediction, key, noise: of the claim.
      strengths: noise levels of the judges.
      base_rate: share of good responses among those that entropies come from.
      sign: "<" if entropy must fall as accuracy rises, ">" if both must move together, "=" if entropy must stay.
      sizes: pairs and repeats.
    """
    strength = jnp.asarray(strengths, jnp.float32)
    entropies, accuracies = map(np.asarray, measured_judges(strength, base_rate, key, noise, LEVELS, *sizes))
    rows = []
    for k, level in enumerate(strengths):
        h, a = closed.judge(level, base_rate, noise, LEVELS)
        rows.append(repeated(f"entropy at λ = {level:g}", h, entropies[:, k]))
        rows.append(repeated(f"accuracy at λ = {level:g}", a, accuracies[:, k]))
    if sign == "=":
        rows.append(
            repeated("entropy of the worst minus that of the best judge", 0.0, entropies[:, -1] - entropies[:, 0])
        )
    else:
        r = [np.corrcoef(h, a)[0, 1] for h, a in zip(entropies, accuracies, strict=True)]
        rows.append(repeated("correlation of entropy and accuracy over judges", 0.0, r, sign))
    kind = (
        f"Good and bad responses, {100 * base_rate:g} % good; judges answer on {LEVELS} levels, noise model '{noise}'."
    )
    return Claim(name, title, kind, prediction, tuple(rows))


def even_quality(key, pairs: int, repeats: int) -> Claim:
    """Guessing on an even distribution of quality."""
    levels, strengths = LEVELS, (0.1, 0.5, 0.9)
    strength, rows = jnp.asarray(strengths, jnp.float32), []
    entropies, accuracies = [], []
    for repeat in jax.random.split(key, repeats):
        of_quality, of_judges = jax.random.split(repeat)
        quality = jax.random.randint(of_quality, (2 * pairs,), 0, levels).astype(jnp.float32) / (levels - 1)
        ratings = answers(quality, strength, jax.random.uniform(of_judges, (2, 2 * pairs, 3)), "guess", levels)
        counts = rating_counts(ratings, jnp.ones(ratings.shape, bool), jnp.asarray(level_edges(levels), jnp.float32))
        entropies.append(np.asarray(entropy_of_counts(counts)))
        gap, margin = quality[:pairs] - quality[pairs:], ratings[:pairs] - ratings[pairs:]
        toward = margin * sign(gap)[:, None]
        different = jnp.broadcast_to(~is_tie(gap)[:, None], toward.shape)
        accuracies.append(np.asarray(margin_accuracy(toward, different).ties_half))
    bias = (levels - 1) / (4 * pairs)  # of the plug-in estimator, which is not small beside such small errors
    of_quality = [
        np.stack([closed.answer_distribution(q, s, "guess", levels) for q in np.linspace(0, 1, levels)])
        for s in strengths
    ]
    for k, (level, p) in enumerate(zip(strengths, of_quality, strict=True)):
        pairs_of = [(i, j) for i in range(levels) for j in range(i)]
        accuracy = np.mean([closed.pairwise_accuracy(p[i], p[j]) for i, j in pairs_of])
        rows.append(repeated(f"entropy at λ = {level:g}", closed.entropy(p.mean(0)) - bias, np.array(entropies)[:, k]))
        rows.append(repeated(f"accuracy at λ = {level:g}", accuracy, np.array(accuracies)[:, k]))
    lost = np.array(accuracies)[:, 0] - np.array(accuracies)[:, -1]
    rows.append(repeated("accuracy that the worst judge has lost", 0.1, lost, ">"))
    return Claim(
        "guess-even",
        "Guessing does not move the entropy of ratings that are even already",
        f"True quality is spread evenly over the {levels} levels; a judge guesses with probability λ.",
        "Pooled answers stay even, so every judge has the largest entropy, log L, whatever his accuracy.",
        tuple(rows),
    )


def finer_grid(key, pairs: int, repeats: int) -> Claim:
    """Two faultless judges, one on a finer grid."""
    tau, fine, ratios, accuracies = 2.0, 10, [], []
    for repeat in jax.random.split(key, repeats):
        jitter = jax.random.randint(repeat, (2, pairs), 0, fine // 2).astype(jnp.float32)
        good, bad = (jitter[0] + fine // 2) / (fine - 1), jitter[1] / (fine - 1)
        ratings = jnp.stack([jnp.concatenate([jnp.ones(pairs), jnp.zeros(pairs)]), jnp.concatenate([good, bad])], 1)
        counts = rating_counts(ratings, jnp.ones(ratings.shape, bool), jnp.asarray(level_edges(fine), jnp.float32))
        coarse_h, fine_h = np.asarray(entropy_of_counts(counts), np.float64)
        ratios.append(math.exp((fine_h - coarse_h) / tau))
        accuracies.append(float(margin_accuracy(ratings[:pairs] - ratings[pairs:]).ties_half.min()))
    return Claim(
        "finer-grid",
        "Between judges on different grids entropy compares the grids",
        "Both judges tell good from bad without fault; one says so on 2 levels, the other on 10, five for each; τ = 2.",
        "Entropies are log 2 and log 10, so the coarse judge gets √5 times the weight, though both accuracies are 1.",
        (
            repeated("ratio of the weights", math.sqrt(5), ratios),
            repeated("lower one of the accuracies", 1.0, accuracies),
        ),
    )


def noise_claims(key, pairs: int, repeats: int) -> list[Claim]:
    """All of them."""
    keys, sizes = jax.random.split(key, 8), (pairs, repeats)
    return [
        noise_claim(
            "guess-bimodal", "Guessing smears ratings that stand at the ends, so entropy rises as accuracy falls",
            "P = (1 - λ) P₀ + λ / L: a mixture with the even distribution, whose entropy is largest; as entropy is "
            "concave, it can only rise with λ. Accuracy falls from 1 to ½.",
            keys[0], "guess", (0.05, 0.2, 0.4, 0.6, 0.8, 0.95), 0.5, "<", sizes,
        ),
        even_quality(keys[1], pairs, repeats),
        noise_claim(
            "shrink", "A judge who shuns a verdict loses entropy with accuracy",
            "Answers pile up in the middle: H = h(λ) + (1 - λ) log 2, which rises up to λ = ⅓ and falls beyond.",
            keys[2], "shrink", (0.4, 0.6, 0.8, 0.95), 0.5, ">", sizes,
        ),
        noise_claim(
            "refuse", "A judge who refuses loses entropy with accuracy",
            "Answers pile up at the lowest level: H = h(½ (1 - λ)) falls with λ, and accuracy is 1 - λ/2.",
            keys[3], "refuse", (0.05, 0.3, 0.6, 0.9), 0.5, ">", sizes,
        ),
        noise_claim(
            "gaussian", "Strong normal noise on a clipped scale loses entropy with accuracy",
            "Beyond λ of about 0.4 clipping piles answers up at both ends again.",
            keys[4], "gaussian", (0.4, 0.6, 0.8, 1.0), 0.5, ">", sizes,
        ),
        noise_claim(
            "flip-even", "Misreading a rule does not move entropy where good and bad are equally frequent",
            "A flip exchanges the two halves of the ratings, which are alike: H = log 2 throughout. Accuracy is 1 - λ.",
            keys[5], "flip", (0.05, 0.2, 0.4), 0.5, "=", sizes,
        ),
        noise_claim(
            "flip-lopsided", "Misreading raises entropy where one kind is rare",
            "P(1) = b (1 - λ) + (1 - b) λ moves from b towards ½ as λ rises to ½, and h rises with it.",
            keys[6], "flip", (0.05, 0.15, 0.3, 0.45), 0.9, "<", sizes,
        ),
        finer_grid(keys[7], pairs, repeats),
    ]  # fmt: skip
