"""A pytest plugin: runs chosen tests in a chosen order, each within its own time, and writes down what they said.

The environment variable MUTANTS_JOB names a JSON file: `order` (test ids; all tests if missing), `limits` (seconds, by
test id), `limit` (of other tests) and `log` (a file to which a line of JSON is added for every test). A test that takes
longer than its limit ends the process by SIGALRM.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

JOB = json.loads(Path(os.environ["MUTANTS_JOB"]).read_text())


def pytest_collection_modifyitems(config, items):
    if "order" in JOB:
        place = {test: i for i, test in enumerate(JOB["order"])}
        dropped = [item for item in items if item.nodeid not in place]
        items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])
        config.hook.pytest_deselected(items=dropped)


def pytest_runtest_logstart(nodeid):
    signal.alarm(JOB["limits"].get(nodeid, JOB["limit"]))


def pytest_runtest_logfinish(nodeid):
    signal.alarm(0)


def pytest_runtest_setup(item):
    if JOB.get("retrace"):  # a function that was compiled for an earlier test would not be called again
        import jax

        jax.clear_caches()


def pytest_runtest_logreport(report):
    with open(JOB["log"], "a") as file:
        said = {"test": report.nodeid, "when": report.when, "outcome": report.outcome, "seconds": report.duration}
        file.write(json.dumps(said) + "\n")


def pytest_collectreport(report):
    if report.failed:
        with open(JOB["log"], "a") as file:
            file.write(json.dumps({"test": report.nodeid, "when": "collect", "outcome": "failed", "seconds": 0}) + "\n")
