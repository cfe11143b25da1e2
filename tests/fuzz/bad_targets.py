"""Loaders that do what no loader may do: the fuzzer must notice each."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

from tests.fuzz.mutate_bytes import mutate_bytes
from tests.fuzz.target import Target

VALID = b"valid"


def _make(folder: Path) -> None:
    (folder / "file").write_bytes(VALID)


def _loader(act):
    def load(folder: Path):
        from encore_jax.errors import InputError

        path = folder / "file"
        if not path.is_file() or path.stat().st_size > 1000 or path.read_bytes() != VALID:
            act(InputError)

    return load


def _refuse(error):
    raise error("not valid", where="file", fix="write 'valid'")


def _traceback(error):
    raise KeyError("field")


def _compute(error):
    while True:
        pass


def _wait(error):
    time.sleep(1000)


def _hold(error):
    return len(bytearray(3 << 30))


def _hold_slowly(error):
    kept = []
    with contextlib.suppress(MemoryError):
        for _ in range(22):
            kept.append(b"x" * (60 << 20))
    raise error("too large")


def _start(error):
    with contextlib.suppress(BaseException):
        subprocess.run(["true"])
    raise error("not valid")


def _connect(error):
    with contextlib.suppress(OSError), socket.socket() as made:
        made.connect(("127.0.0.1", 9))


def _ask(error):
    with contextlib.suppress(EOFError):
        input("Run this code? ")


def _die(error):
    os.abort()


EXPECTED = {
    "success": (lambda error: None, "success"), "refusal": (_refuse, "one line"),
    "traceback": (_traceback, "traceback"),
    "compute": (_compute, "hang"), "wait": (_wait, "hang"), "hold": (_hold, "memory"),
    "hold slowly": (_hold_slowly, "memory"), "process": (_start, "forbidden"), "network": (_connect, "forbidden"),
    "question": (_ask, "forbidden"), "die": (_die, "died"),
}  # fmt: skip
"""What each does, and what the fuzzer must say."""

TARGETS = {name: Target(_make, {"file": mutate_bytes}, _loader(act)) for name, (act, _) in EXPECTED.items()}
