"""``--help`` of every command, in a process of its own each, on a machine without any extra: ``python -m ...``.

Prints one JSON line: by module, exit status and output. Forks after the imports that all commands share.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import re
import runpy
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = {
    "aiohttp", "torch", "trl", "peft", "gcsfs", "llama_cpp", "uvicorn", "starlette", "prometheus_client", "h11",
    "tensorboardX", "libtpu", "mkdocs", "easydel", "tunix", "datasets", "sklearn", "statsmodels", "hypothesis",
}  # fmt: skip


class NotInstalled(importlib.abc.MetaPathFinder):
    """Finds no extra."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def commands() -> list[str]:
    """Modules that are run as programs."""
    found = []
    for path in [*(ROOT / "experiments").rglob("*.py"), *(ROOT / "encore_jax").rglob("*.py")]:
        if re.search(r"^if __name__ == .__main__.:", path.read_text(encoding="utf-8"), re.MULTILINE):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__main__" else parts))
    return sorted(found)


def run(module: str, arguments: list[str]) -> dict:
    """Runs a module as a program, in a child."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            status = 99
            os.dup2(output.fileno(), 1), os.dup2(output.fileno(), 2)
            sys.argv = [module, *arguments]
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
                status = 0
            except SystemExit as stopped:
                status = stopped.code if isinstance(stopped.code, int) else int(bool(stopped.code))
                print(stopped.code if isinstance(stopped.code, str) else "", end="", file=sys.stderr)
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return {"status": os.waitstatus_to_exitcode(status), "output": output.read()}


def main() -> None:
    """Every command with ``--help``, and with a flag that no command has."""
    sys.meta_path.insert(0, NotInstalled())
    import encore_jax.recipes.pipeline  # noqa: F401  what most commands import

    told = {}
    for module in commands():
        told[module] = {"help": run(module, ["--help"]), "wrong": run(module, ["--no-such-flag=1"])}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
