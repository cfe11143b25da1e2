"""From flags to the model's part of the server; whoever imports this waits for jax and transformers."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

import jax

from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.app import App, Limits
from encore_jax.serve.flags import QUEUE
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service

_LOG = logging.getLogger("encore_jax.serve")


def load_app(given: argparse.Namespace, metrics: Metrics, say: Callable[[str], None]) -> App:
    """Loads the model, compiles its shapes, starts its batcher.

    Args:
      given: flags.
      metrics: that count requests and batches.
      say: told what is being done.

    Raises:
      InputError: a model that cannot be loaded.
      MemoryError: one that does not fit, or not with batches of this size.
    """
    say(f"loading {given.model}")
    model = RewardModel.from_pretrained(given.model, allow_mismatch=given.allow_mismatch, fetch_backbone=given.fetch)
    if given.weights:
        model = model.weighted(given.weights)
    for line in model.passport.mismatch:
        _LOG.warning("the model is not what its passport stands for: %s", line)
    scorer = Scorer(model, tokens_per_batch=given.tokens_per_batch)
    count = len(scorer.shapes)
    try:
        scorer.warm_up(lambda i, shape: say(f"compiling {i + 1} of {count} shapes: {shape.rows}x{shape.length}"))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise MemoryError(str(error)) from None
        raise
    waiting = given.max_waiting_tokens or QUEUE * scorer.shapes[-1].tokens
    service = Service(scorer, given.name, waiting, metrics.batch, remember=given.remember)
    limits = Limits(
        int(given.max_body_mib * 2**20), given.max_texts, given.timeout, given.read_timeout,
        requests=given.max_connections - max(1, given.max_connections // 16),
    )  # fmt: skip
    service.batcher.start()
    return App(service, metrics, given.token, limits)
