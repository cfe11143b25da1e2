"""Serves a saved reward model over HTTP.

    encore serve --model=runs/quickstart/compose

Needs the `serve` extra. Listens on loopback; for another address a token must be set in ENCORE_SERVE_TOKEN, which
clients then send as ``Authorization: Bearer TOKEN``. It listens at once and loads and compiles then; until that is done
/health says "starting" (503). SIGTERM, SIGINT and SIGHUP: nothing new is accepted (503), what was accepted is answered,
exit status 0; a second signal ends it at once. Exit status 2 for bad input.

    POST /v1/score     {"prompt": "...", "responses": ["...", "..."], "explain": true}
    POST /classify     vLLM's: {"messages": [...]} or {"input": "..."}; model NAME/rules has one label per rule
    POST /pooling      vLLM's
    POST /get_reward   OpenRLHF's --remote_rm_url; with ?prompts=plain for policies without a chat template
    POST /rewards      {"prompts": [...], "completions": [...]}, as TRL and Tunix call reward functions
    GET  /v1/models    names, rules, weights and passport of the model
    GET  /health       200 when it answers, 503 while it starts or ends; /live 200 while it is worth waiting
    GET  /metrics      Prometheus
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import socket
import sys

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is not installed is no news

from encore_jax.errors import InputError
from encore_jax.serve import flags
from encore_jax.serve.listening import close, listen, url
from encore_jax.serve.refusal import BatcherStopped

_LOG = logging.getLogger("encore_jax.serve")
NEEDED = ("h11", "prometheus_client", "starlette", "uvicorn")


def main(arguments: list[str] | None = None) -> None:
    """Listens, loads, compiles, serves until told to stop."""
    logging.basicConfig(format="%(levelname)s:     %(message)s")
    _LOG.setLevel(logging.INFO)
    try:
        serve(flags.parse(arguments, __doc__))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("error: out of memory. Fix: a smaller --tokens_per_batch, or a machine with more", file=sys.stderr)
        sys.exit(1)
    except BatcherStopped as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def serve(given: argparse.Namespace) -> None:
    """Serves until told to stop.

    Raises:
      InputError: the `serve` extra is not installed, the port is taken, or the model cannot be loaded.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        fix = "pip install -e '.[serve]'"
        raise InputError(f"the server needs {', '.join(missing)}, not installed here", fix=fix)
    if given.multihost:
        from encore_jax.parallel.joining import join
        from encore_jax.parallel.processes import all_or_none, speaks

        join(given.multihost)
        sockets = all_or_none(lambda: opened(given, listens=speaks()))
        if sockets is None:
            from encore_jax.serve.loading import lend_devices

            _LOG.info("process 0 listens, and this one lends it its devices")
            return lend_devices(given)
    else:
        sockets = opened(given)
    address = url(given.host, sockets)
    _LOG.info("listening on %s; /health says 'starting' until the model is loaded and compiled", address)
    try:
        from encore_jax.serve.metrics import Metrics
        from encore_jax.serve.server import make_server

        metrics = Metrics()

        def load(say):
            from encore_jax.serve.loading import load_app  # seconds, in a thread of its own

            return load_app(given, metrics, say)

        server, front = make_server(given, metrics, load, lambda app: _LOG.info("running on %s: %s", address, app.name))
        server.run(sockets)
    finally:
        close(sockets)
    if front.app:
        front.app.close()
    if server.error:
        raise server.error
    _LOG.info("everything accepted is answered")


def check_place(model: str) -> None:
    """Refuses a model that lies nowhere, before a port or anything else is taken.

    Raises:
      InputError: a path that is no folder.
    """
    if "://" in model or os.path.isdir(os.path.expanduser(model)):
        return
    problem = "is a file; reward models are folders" if os.path.exists(model) else "no such file or folder"
    fix = "name a saved reward model's folder, e.g. runs/encore_hh/compose"
    raise InputError(problem, where=f"--model={model}", fix=fix)


def opened(given: argparse.Namespace, *, listens: bool = True) -> list[socket.socket] | None:
    """The server's sockets; None for a process that does not listen.

    Raises:
      InputError: the model lies nowhere, or the port is taken.
    """
    check_place(given.model)
    return listen(given.host, given.port) if listens else None


def _leave(status: int) -> None:
    """Ends the process, and threads of it that still compile or compute something that nobody waits for."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code
    _leave(code)
