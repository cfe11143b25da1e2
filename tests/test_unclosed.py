"""What is opened is closed: by the form of the sources, and by a warning that every test turns into an error."""

import ast
import gc
import re
import sqlite3
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENERS = {
    "open", "open_file", "fdopen", "connect", "open_journal", "socket", "create_connection", "socketpair", "urlopen",
    "HTTPConnection", "HTTPSConnection", "Popen", "ZipFile", "GzipFile", "TarFile", "ParquetFile", "TemporaryFile",
    "NamedTemporaryFile", "ClientSession", "SummaryWriter", "TemporaryDirectory", "scandir",
    "ThreadPoolExecutor", "ProcessPoolExecutor",
}  # fmt: skip
NAMES = re.compile(rf"\b({'|'.join(OPENERS)})\(")
OWNED = {
    "encore_jax/serve/listening.py": "the sockets of a server, closed by `close`, or where one cannot be bound",
    "encore_jax/serve/service.py": "ended by `close`",
    "encore_jax/train/metrics.py": "closed by `close`",
    "encore_jax/train/trackers.py": "closed by `close`",
    "encore_jax/http/client.py": "closed by `close`",
    "encore_jax/judge/journal_file.py": "the connection that `open_journal` returns; closed if it is no journal's",
    "encore_jax/data/lock.py": "descriptors of locks, closed where the lock is given back",
    "encore_jax/data/atomic.py": "closed by `finally`",
    "encore_jax/command_line.py": "the process ends with the next line",
    "encore_jax/cli/sweep_runs.py": "processes of a sweep, waited for in its loop",
    "experiments/benchmarks/serving_throughput.py": "the server, ended by `__exit__`",
}
"""Files in which something stays open beyond one block, and who closes it."""


def unmanaged(source: str) -> list[int]:
    """Lines that open something outside of a ``with``, an exit stack, or a ``return``.

    >>> unmanaged("with open(p) as f: pass\\nfor x in open(p): pass\\nwith closing(connect(p)) as c: pass")
    [2]
    """
    if not NAMES.search(source):
        return []
    tree = ast.parse(source)
    managed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With | ast.AsyncWith):
            managed |= {call for item in node.items for call in ast.walk(item.context_expr)}
        elif isinstance(node, ast.Return) and node.value:
            managed |= {node.value}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "enter_context":
            managed |= {call for argument in node.args for call in ast.walk(argument)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node not in managed]
    return [call.lineno for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in OPENERS]


def test_what_a_function_opens_it_closes():
    rooms, found = ("encore_jax", "experiments", "examples"), {}
    for path in sorted(path for room in rooms for path in (ROOT / room).rglob("*.py")):
        if lines := unmanaged(path.read_text(encoding="utf-8")):
            found[path.relative_to(ROOT).as_posix()] = lines
    assert not {name: lines for name, lines in found.items() if name not in OWNED}
    assert not OWNED.keys() - found.keys(), "they open nothing any more"


@pytest.mark.parametrize("closed", [True, False])
def test_a_connection_that_nobody_closes_warns(closed, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connection = sqlite3.connect(tmp_path / "j")
        if closed:
            connection.close()
        del connection
        gc.collect()
    assert [str(one.message).startswith("unclosed database") for one in caught] == [True] * (not closed)


def threads_in_generators(source: str) -> list[int]:
    """Lines in which a generator yields while it holds threads.

    One that an exception leaves behind is closed by the garbage collector, in any thread, which cannot wait for itself.

    >>> threads_in_generators("def g():\\n  with ThreadPoolExecutor(1) as pool:\\n    yield 1")
    [2]
    >>> threads_in_generators("@contextmanager\\ndef g():\\n  with ThreadPoolExecutor(1) as p:\\n    yield p")
    []
    """
    if "PoolExecutor(" not in source:
        return []
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or "contextmanager" in "".join(
            ast.dump(decorator) for decorator in function.decorator_list
        ):
            continue
        for node in ast.walk(function):
            holds = isinstance(node, ast.With) and "PoolExecutor" in ast.dump(ast.Tuple(node.items))
            if holds and any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)):
                found.append(node.lineno)
    return found


def test_no_generator_holds_threads():
    found = {
        str(path.relative_to(ROOT)): lines
        for room in ("encore_jax", "experiments", "examples")
        for path in sorted((ROOT / room).rglob("*.py"))
        if (lines := threads_in_generators(path.read_text(encoding="utf-8")))
    }
    assert not found
