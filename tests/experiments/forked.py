"""Experiments as forked children, which can be killed by SIGKILL and started again at little cost.

The parent imports everything once and starts no JAX backend.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.run import run_experiment


def start(config: ExperimentConfig, workdir: Path) -> int:
    """The process id of a child that runs the experiment; see `fork`."""
    return fork(lambda: run_experiment(config, workdir))


def fork(work: Callable[[], object]) -> int:
    """The process id of a child that does the work; it exits with 0, or with 1 after printing what went wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; none of its threads is running yet
        child = os.fork()
    if child:
        return child
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        work()
        os._exit(0)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def killed(child: int, begun: Callable[[], bool], delay: float) -> bool:
    """Kills a child by SIGKILL `delay` seconds after something has begun; whether it was still running then."""
    while not begun():
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def environment(devices: int, cache: Path) -> dict[str, str]:
    """Of the parent: so many devices, and what the first run compiles is there for the others."""
    return os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
