"""Serves a saved reward model over HTTP.

    python -m encore_jax.interop.serve --model=runs/quickstart/compose

Needs the `serve` extra. Listens on loopback; for another address a token must be set in ENCORE_SERVE_TOKEN, which
clients then send as ``Authorization: Bearer TOKEN``. SIGTERM and SIGINT: nothing new is accepted (503), what was
accepted is answered, exit status 0. Exit status 2 for bad input.

    POST /v1/score     {"prompt": "...", "responses": ["...", "..."], "explain": true}
    POST /classify     vLLM's: {"messages": [...]} or {"input": "..."}; model NAME/rules has one label per rule
    POST /pooling      vLLM's
    POST /get_reward   OpenRLHF's --remote_rm_url; with ?prompts=plain for policies without a chat template
    POST /rewards      {"prompts": [...], "completions": [...]}, as TRL and Tunix call reward functions
    GET  /v1/models    names, rules, weights and passport of the model
    GET  /health, /metrics (Prometheus)
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is not installed is no news

import uvicorn

from encore_jax.errors import InputError
from encore_jax.interop.reward_model import RewardModel
from encore_jax.interop.scorer import Scorer
from encore_jax.interop.serve.app import App, Limits
from encore_jax.interop.serve.metrics import Metrics
from encore_jax.interop.serve.service import Service
from encore_jax.interop.weighting import HELP

_LOG = logging.getLogger("encore_jax.serve")
TOKEN = "ENCORE_SERVE_TOKEN"
QUEUE = 64
"""By default so many batches' worth of tokens may wait."""


class Server(uvicorn.Server):
    """Uvicorn that drains first: a stop signal closes its sockets only when all that was accepted is answered."""

    def __init__(self, config: uvicorn.Config, app: App):
        super().__init__(config)
        self._app, self._draining = app, None

    def handle_exit(self, sig, frame) -> None:
        """First signal: drain, then exit. Second one: exit at once."""
        if self._draining:
            self.should_exit = self.force_exit = True
            return
        _LOG.info("shutting down: %d requests are open", self._app.open)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._app.drain()
        self.should_exit = True


def main(arguments: list[str] | None = None) -> None:
    """Loads, compiles, serves until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m encore_jax.interop.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder of a saved reward model, or an hf:// uri")
    parser.add_argument("--name", help="what clients call it; the folder's name by default")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one, which is printed")
    parser.add_argument(
        "--allow-mismatch", "--allow_mismatch", action="store_true",
        help="serve a model that its passport does not stand for; /v1/models says so",
    )  # fmt: skip
    parser.add_argument("--weights", default="", help=HELP)
    parser.add_argument("--tokens_per_batch", type=int, default=4096, help="that go through the model at once")
    parser.add_argument(
        "--max_waiting_tokens", type=int, default=0, help=f"beyond which 429; {QUEUE} batches by default"
    )
    parser.add_argument("--max_body_mib", type=float, default=4.0, help="beyond which 413")
    parser.add_argument("--max_texts", type=int, default=1024, help="in one request, beyond which 413")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds, beyond which 504")
    logging.basicConfig(format="%(levelname)s:     %(message)s")
    _LOG.setLevel(logging.INFO)
    try:
        serve(parser.parse_args(arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def serve(given: argparse.Namespace) -> None:
    """Serves until told to stop.

    Raises:
      InputError: a model that cannot be loaded, or an open address without a token.
    """
    token = os.environ.get(TOKEN, "")
    if not token and not is_loopback(given.host):
        fix = f"set {TOKEN} to a secret, or listen on 127.0.0.1"
        raise InputError("everybody could use the model", where=f"--host={given.host}", fix=fix)
    model = RewardModel.from_pretrained(given.model, allow_mismatch=given.allow_mismatch)
    if given.weights:
        model = model.weighted(given.weights)
    for line in model.passport.mismatch:
        _LOG.warning("the model is not what its passport stands for: %s", line)
    scorer = Scorer(model, tokens_per_batch=given.tokens_per_batch)
    shapes = ", ".join(f"{shape.rows}x{shape.length}" for shape in scorer.shapes)
    _LOG.info("compiling %d shapes: %s", len(scorer.shapes), shapes)
    scorer.warm_up()
    metrics = Metrics()
    waiting = given.max_waiting_tokens or QUEUE * scorer.shapes[-1].tokens
    service = Service(scorer, given.name or Path(given.model).name, waiting, metrics.batch)
    limits = Limits(int(given.max_body_mib * 2**20), given.max_texts, given.timeout)
    app = App(service, metrics, token, limits)
    service.batcher.start()
    # uvicorn's own logging configuration would close every other handler, absl's and its stream among them
    config = uvicorn.Config(app.asgi, given.host, given.port, log_level="info", log_config=None, access_log=False)
    Server(config, app).run()
    service.close()
    _LOG.info("everything accepted is answered")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
