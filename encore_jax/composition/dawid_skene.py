"""Rules that answer in classes: confusion matrices and a consensus without labels (Dawid and Skene 1979).

Every item has one true class, every rule answers with some class, and errors are independent given the truth. The EM
algorithm begins with the majority's answers. For two classes, a rule's log-odds are the weight of its vote.

Letters: N items, K rules, L classes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import flags, numbers, real_number, whole_number
from encore_jax.errors import InputError


class DawidSkene(NamedTuple):
    """The fit.

    Attributes:
      posterior: ``[N, L]``, probability of every class for each item.
      prior: ``[L]``, how frequent every class is.
      confusion: ``[K, L, L]``, probability that rule k answers the second index where the first one is true.
      log_likelihood: of all answers.
      steps: of the EM algorithm.
    """

    posterior: Float[Array, "N L"]
    prior: Float[Array, " L"]
    confusion: Float[Array, "K L L"]
    log_likelihood: Float[Array, ""]
    steps: Int[Array, ""]

    @property
    def accuracy(self) -> Float[Array, " K"]:
        """How often every rule answers the true class, by this fit."""
        return jnp.einsum("l,kll->k", self.prior, self.confusion)

    @property
    def log_odds(self) -> Float[Array, " K"]:
        """Of two classes, the weight of a vote: half of what a "1" and a "0" move the log-odds of class 1.

        Raises:
          InputError: there are more than two classes.
        """
        if self.prior.shape != (2,):
            raise InputError(f"there are {len(self.prior)} classes", where="log_odds", fix="votes have weights for two")
        log = jnp.log(self.confusion)
        return ((log[:, 1, 1] - log[:, 0, 1]) - (log[:, 1, 0] - log[:, 0, 0])) / 2


def dawid_skene(
    answers: Int[Array, "N K"], where: Bool[Array, "N K"] | None = None, *, steps: int = 1000, tolerance: float = 1e-6
) -> DawidSkene:
    """Fits the model to answers 0..L-1.

    Args:
      answers: ``[N, K]`` whole numbers; L is the largest plus 1, at least 2.
      where: ``[N, K]``, which answers exist.
      steps: of the EM algorithm, at most.
      tolerance: it ends when no probability of a class changes by more.

    Raises:
      InputError: shapes do not fit, an answer is negative or not whole, a rule or an item has no answer, or there are
        fewer than two rules; `steps` is no whole number from 1, or `tolerance` is negative or no number.

    >>> fit = dawid_skene(np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]] * 10))
    >>> [round(float(a), 2) for a in fit.accuracy]
    [1.0, 1.0, 0.5]
    """
    steps = whole_number(steps, "steps", 1)
    tolerance = real_number(tolerance, "tolerance", lambda x: 0 <= x < np.inf, "pass a number from 0, e.g. 1e-6")
    answers = np.asarray(numbers(answers, "answers", finite=False, dtype=None))
    mask = np.ones(answers.shape, bool) if where is None else np.asarray(flags(where))
    _check(answers, mask)
    answers = np.where(mask, answers, 0).astype(np.int32)
    classes = max(2, int(answers.max()) + 1)
    return _fit(jnp.asarray(answers), jnp.asarray(mask), classes, steps, tolerance)


def _check(answers: np.ndarray, mask: np.ndarray) -> None:
    if answers.ndim != 2 or mask.shape != answers.shape or answers.shape[1] < 2 or not len(answers):
        problem = f"answers have shape {answers.shape}, their mask {mask.shape}"
        raise InputError(problem, where="dawid_skene", fix="pass [N, K] with at least two rules and one item")
    kept = answers[mask]
    if kept.dtype.kind not in "iub" and not (np.isfinite(kept).all() and (kept == np.round(kept)).all()):
        raise InputError("an answer is no whole number", where="dawid_skene", fix="number the classes 0, 1, ...")
    if kept.size and (kept.min() < 0 or kept.max() > 99):
        raise InputError(
            f"answers reach from {kept.min()} to {kept.max()}", where="dawid_skene", fix="use classes 0 to 99"
        )
    for axis, what in ((0, "rule"), (1, "item")):
        empty = np.flatnonzero(~mask.any(axis))
        if empty.size:
            raise InputError("has no answer", where=f"{what} {empty[0]}", fix="leave it out")


def _fit(answers, mask, classes, steps, tolerance) -> DawidSkene:
    given = jax.nn.one_hot(answers, classes) * mask[..., None].astype(jnp.float32)  # [N, K, L]
    votes = given.sum(1)
    start = votes / votes.sum(1, keepdims=True)

    def parameters(posterior):
        prior = posterior.mean(0)
        counts = jnp.einsum("nl,nkm->klm", posterior, given, precision="highest")
        return prior, counts / jnp.maximum(counts.sum(-1, keepdims=True), 1e-10)

    def expectation(prior, confusion):
        log = jnp.log(jnp.maximum(confusion, 1e-10))
        joint = jnp.log(jnp.maximum(prior, 1e-10))[None] + jnp.einsum("nkm,klm->nl", given, log, precision="highest")
        return jax.nn.softmax(joint, -1), jax.nn.logsumexp(joint, -1).sum()

    def step(carry):
        posterior, _, _, number = carry
        new, likelihood = expectation(*parameters(posterior))
        return new, likelihood, jnp.abs(new - posterior).max(), number + jnp.int32(1)

    def moving(carry):
        return (carry[2] > tolerance) & (carry[3] < steps)

    first = (start, jnp.float32(-jnp.inf), jnp.float32(jnp.inf), jnp.int32(0))
    posterior, likelihood, _, number = jax.lax.while_loop(moving, step, first)
    prior, confusion = parameters(posterior)
    return DawidSkene(posterior, prior, jnp.maximum(confusion, 1e-10), likelihood, number)
