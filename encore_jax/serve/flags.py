"""What can be said on the server's command line. Imports nothing that takes time or may be missing."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from encore_jax.command_line import MESH, MULTIHOST
from encore_jax.errors import InputError
from encore_jax.parallel.mesh_text import axis_sizes
from encore_jax.reward.weighting import HELP
from encore_jax.serve.listening import is_loopback

TOKEN = "ENCORE_SERVE_TOKEN"
QUEUE = 64
"""By default so many batches' worth of tokens may wait."""


class _Parser(argparse.ArgumentParser):
    """One line for a wrong flag, with the one that was probably meant."""

    def error(self, message: str) -> None:
        known = [flag for action in self._actions for flag in action.option_strings]
        for word in message.split() if message.startswith("unrecognized") else ():
            if near := difflib.get_close_matches(word.partition("=")[0], known, 1):
                message += f"; did you mean {near[0]}?"
        print(f"error: {message.rstrip('.')}. Fix: see --help", file=sys.stderr)
        sys.exit(2)


def parse(arguments: Sequence[str] | None, description: str) -> argparse.Namespace:
    """The flags, every one checked; ``token`` and ``name`` are filled in.

    Raises:
      InputError: an open address without a token, or a token or name that nobody could send.
    """
    parser = _Parser(
        prog="encore serve",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def add(flag: str, **options) -> None:
        name = flag[2:]
        spellings = dict.fromkeys([flag, f"--{name.replace('_', '-')}", f"--{name.replace('-', '_')}"])
        parser.add_argument(*spellings, **options)

    add("--model", required=True, help="folder of a saved reward model, or an hf:// uri")
    add("--name", help="what clients call it; the folder's name by default")
    add("--host", default="127.0.0.1", help="another than this machine's own needs a token")
    add("--port", type=_whole(0, 65535), default=8000, help="0 takes a free one, which is printed")
    add("--fetch", action="store_true", help="fetch the backbone that the model's own files name, wherever it is")
    add("--allow-mismatch", action="store_true",
        help="serve a model that its passport does not stand for; /v1/models says so")  # fmt: skip
    add("--weights", default="", help=HELP)
    add("--mesh", default="", type=_mesh, help=f"{MESH} Without it each device holds the whole model.")
    add(
        "--multihost",
        default="",
        help=f"{MULTIHOST} The first listens, the others lend it their devices; --mesh says how all share the model.",
    )
    add("--tokens_per_batch", type=_whole(1), default=4096, help="that go through the model at once")
    add("--max_waiting_tokens", type=_whole(0), default=0, help=f"beyond which 429; {QUEUE} batches by default")
    add("--max_body_mib", type=_number(2**-20, 1024), default=4.0, help="beyond which 413")
    add("--max_texts", type=_whole(1), default=1024, help="in one request, beyond which 413")
    add("--timeout", type=_number(0.001, 86400), default=60.0, help="seconds for one request, beyond which 504")
    add("--read_timeout", type=_number(0.001, 86400), default=10.0,
        help="seconds in which a request's head must come, and again its body; beyond which 408")  # fmt: skip
    add("--idle_timeout", type=_number(0.001, 86400), default=60.0,
        help="seconds that a connection may stay open between requests")  # fmt: skip
    add("--max_connections", type=_whole(2), default=1024,
        help="open at once; when there are more, one that has sent no request gives way")  # fmt: skip
    add("--allowed-hosts", default="", type=_hosts,
        help="names that a request's Host header may have, e.g. localhost,*.example.com; beyond which 421")  # fmt: skip
    add("--remember", type=_whole(0), default=1 << 16,
        help="texts whose scores are kept, so that the same text has the same score again")  # fmt: skip
    given = parser.parse_args(arguments)
    if given.multihost and not given.mesh:
        fix = (
            "say how the devices of all processes share the model, e.g. --mesh=tensor=8; or leave --multihost out and "
        )
        raise InputError("is given without --mesh", where="--multihost", fix=fix + "start a server on each host")
    given.token, given.name = _token(given.host), given.name or default_name(given.model)
    _check_name(given.name)
    return given


def default_name(model: str) -> str:
    """What clients call a model: the last part of its path or uri.

    >>> default_name("runs/quickstart/compose/"), default_name("hf://org/name@main")
    ('compose', 'name@main')
    """
    return PurePosixPath(model if "://" in model else os.path.abspath(model)).name or "model"


def _token(host: str) -> str:
    token = os.environ.get(TOKEN, "")
    if token and not (token.isascii() and token.isprintable() and not any(map(str.isspace, token))):
        raise InputError("holds a space or a character that no header can hold", where=TOKEN, fix="choose another one")
    if not token and not is_loopback(host):
        fix = f"set {TOKEN} to a secret, or listen on 127.0.0.1"
        raise InputError("everybody could use the model", where=f"--host={host}", fix=fix)
    return token


def _check_name(name: str) -> None:
    if name.endswith("/rules") or not name.isprintable():
        raise InputError(
            f"{name!r} is no name for a model", where="--name", fix="choose one that does not end in /rules"
        )


def _whole(low: int, high: int = 2**31) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.lstrip("-").isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return read


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low:g} to {high:g}")
        return value

    return read


def _mesh(text: str) -> str:
    if text:
        try:
            axis_sizes(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(f"{error.problem}; {error.fix}") from None
    return text


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip().lower() for host in text.split(",") if host.strip())
    for host in hosts:
        if "/" in host or "*" in host.removeprefix("*."):
            raise argparse.ArgumentTypeError(f"{host!r} is no host's name; write e.g. localhost,*.example.com")
    return hosts
