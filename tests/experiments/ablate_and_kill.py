"""An ablation undisturbed, then once more killed while it decides, and run again: ``python -m ... VIEW OUT``.

A process of its own, because it forks. Prints one JSON line: the parts that were complete when the run was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.run_config import validated
from tests.experiments.forked import start


def config(view: Path) -> AblateConfig:
    """Many small parts, so that there is time to kill it between two."""
    return validated(
        AblateConfig(
            scores=str(view), taus=(0.2, 2.0, float("inf")), seeds=(0, 1), shares=(0.5, 1.0), part=100, replicates=3
        )
    )


def main(view: Path, out: Path) -> None:
    """Writes out/whole and out/killed."""
    _, status = os.waitpid(start(config(view), out / "whole"), 0)
    assert status == 0, "the undisturbed run failed"
    child, folder = start(config(view), out / "killed"), out / "killed" / "decide"
    while len(list(folder.glob("part-*"))) < 3:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it ended before it was killed"
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    _, status = os.waitpid(start(config(view), out / "killed"), 0)
    again = [name for name, at in kept.items() if (folder / name).stat().st_mtime_ns != at]
    print(json.dumps({"kept": len(kept), "done_again": again, "status": status}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
