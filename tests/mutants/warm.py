"""Runs pytest again and again, each time in a fork of a process that has imported what is slow to import.

Reads a line of JSON for every run (`arguments` of pytest, `environment`, `folder`, `output`, `seconds`), answers with a
line: the exit status, negative for a signal, null where the run did not end in time.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings

SLOW = (
    "numpy", "scipy.stats", "scipy.optimize", "jax", "flax.linen", "optax", "transformers", "pytest",
    "sklearn.linear_model", "pyarrow.parquet", "msgspec", "yaml",
)  # fmt: skip


def run(job: dict) -> int | None:
    """The exit status of one run of pytest; whatever it started and left behind is killed."""
    child = os.fork()
    if child == 0:
        _become_pytest(job)
    ends, status = time.monotonic() + job["seconds"], None
    while status is None and time.monotonic() < ends:
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        time.sleep(0 if done else 0.02)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if status is None:
        os.waitpid(child, 0)
    return status


def _become_pytest(job: dict) -> None:
    os.setsid()
    os.environ |= job["environment"]
    os.chdir(job["folder"])
    sys.path[:] = [job["folder"], *sys.path[1:]]
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 70
    try:
        import pytest

        status = int(pytest.main(job["arguments"]))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is imported may print
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in SLOW:
            importlib.import_module(name)
    assert not any(name.startswith(("encore_jax", "experiments")) for name in sys.modules), "must be imported afresh"
    warnings.filterwarnings("ignore", message=".*os.fork.*")
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
