"""Several real processes that make up one program."""

import contextlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


_PORTS = range(
    20_000, 32_000
)  # below those that Linux, macOS and Windows give to connections: nobody takes one by chance


def free_port() -> int:
    """A port of this machine that nobody uses now, nor soon."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def launch(processes: int, devices: int, command, environment=None) -> list[subprocess.Popen]:
    """Starts them, with so many devices in all.

    Args:
      command: a process's arguments for Python, from where it joins ("" for a process alone).
      environment: of some processes, by their numbers, what is different there.
    """
    port, started = free_port(), []
    for index in range(processes):
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices // processes), "PYTHONPATH": str(REPOSITORY)}
        env |= (environment or {}).get(index, {})
        where = f"127.0.0.1:{port},{processes},{index}" if processes > 1 else ""
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(subprocess.Popen([sys.executable, *command(where)], env=env, cwd=REPOSITORY, **pipes))
    return started


def finish(started: list[subprocess.Popen], code: int = 0) -> list[str]:
    """Waits for all of them; what they said."""
    said, late = [], []
    for index, process in enumerate(started):
        try:
            said.append(process.communicate(timeout=240)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            said.append(process.communicate()[0])
            late.append(index)
    assert not late, f"processes {late} did not end:\n" + "\n".join(output[-4000:] for output in said)
    for process, output in zip(started, said, strict=True):
        assert process.returncode == code, output[-4000:]
    return said
