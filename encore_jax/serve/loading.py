"""From flags to the model's part of the server; whoever imports this waits for jax and transformers."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Callable

import jax

from encore_jax.parallel.mesh import make_mesh, parse_mesh
from encore_jax.parallel.processes import all_or_none
from encore_jax.progress import at_work, seen
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer, Shape
from encore_jax.serve.app import App, Limits
from encore_jax.serve.flags import QUEUE
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service

_LOG = logging.getLogger("encore_jax.serve")


def load_scorer(given: argparse.Namespace) -> Scorer:
    """Loads the model and puts it on the devices: this process's, or with ``--multihost`` those of all processes.

    Raises:
      InputError: a model that cannot be loaded, here or on another process.
    """
    mesh = parse_mesh(given.mesh) if given.mesh else None

    def load() -> RewardModel:
        model = RewardModel.from_pretrained(
            given.model,
            allow_mismatch=given.allow_mismatch,
            fetch_backbone=given.fetch,
            mesh=make_mesh(mesh) if mesh else None,
        )
        return model.weighted(given.weights) if given.weights else model

    model = all_or_none(load)
    for line in model.passport.mismatch:
        _LOG.warning("the model is not what its passport stands for: %s", line)
    return Scorer(model, tokens_per_batch=given.tokens_per_batch, led=jax.process_count() > 1)


def lend_devices(given: argparse.Namespace) -> None:
    """What every process but the first does: runs what that one serves, until it ends.

    A first signal is left to process 0, which drains; a second one ends this process at once.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_to_the_first)
    load_scorer(given).follow()


def _leave_to_the_first(number: int, frame: object) -> None:
    _LOG.info("process 0 ends this one when everything accepted is answered; a second signal ends it at once")
    signal.signal(number, signal.SIG_DFL)


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
    scorer = load_scorer(given)
    count = len(scorer.shapes)

    def told(i: int, shape: Shape) -> None:
        say(f"compiling {i + 1} of {count} shapes: {shape.rows}x{shape.length}")
        seen()

    try:
        with at_work(f"compiling {count} shapes"):
            scorer.warm_up(told)
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
