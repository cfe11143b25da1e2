"""Experiment trackers by name: metrics go to them as well, from process 0 only. None of them is needed.

Nothing is asked on the terminal and nobody is logged in: wandb works offline unless an API key is set or it was logged
in before, MLflow and trackio write to the run's folder unless their own environment variables say where.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from encore_jax.errors import InputError

GOODPUT, GOODPUT_PACKAGE = "goodput", "ml_goodput_measurement"
"""Is told what happens when, see `encore_jax.train.goodput`, and no metrics."""


_TAG = "encore_jax.folder"
"""MLflow finds the run whose metrics are in a folder by this tag, a digest of the folder's path."""


class Tracker(Protocol):
    """What a run tells a tracker."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of a step, or of the state after so many steps."""

    def close(self) -> None:
        """Writes what is left."""


class _TensorBoard:
    def __init__(self, folder: Path, run: str, first: int, load: Callable[[], Any]):
        self._writer = load().SummaryWriter(str(folder / "tensorboard"), purge_step=first, filename_suffix=f".{first}")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path, run: str, first: int, load: Callable[[], Any]):
        folder.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
        options = {"mode": mode, "name": run, "id": _identifier(folder), "resume": "allow", "dir": str(folder)}
        self._run = load().init(project=os.environ.get("WANDB_PROJECT", "encore_jax"), **options)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, folder: Path, run: str, first: int, load: Callable[[], Any]):
        self._mlflow = module = load()
        if not os.environ.get("MLFLOW_TRACKING_URI"):  # a database, since MLflow 3 refuses a plain folder
            folder.mkdir(parents=True, exist_ok=True)
            module.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').absolute()}")
        module.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "encore_jax"))
        where = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()
        before = module.search_runs(filter_string=f"tags.`{_TAG}` = '{where}'", max_results=1, output_format="list")
        if before:  # a training that goes on is one run
            module.start_run(run_id=before[0].info.run_id)
        else:
            module.start_run(run_name=run, tags={_TAG: where})

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Trackio:
    def __init__(self, folder: Path, run: str, first: int, load: Callable[[], Any]):
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").absolute()))  # which it reads when it is imported
        self._run = load().init(project=os.environ.get("TRACKIO_PROJECT", "encore_jax"), name=run, resume="allow")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, tuple[str, Callable[..., Tracker]]] = {
    "tensorboard": ("tensorboardX", _TensorBoard),
    "wandb": ("wandb", _Wandb),
    "mlflow": ("mlflow", _Mlflow),
    "trackio": ("trackio", _Trackio),
}
"""By name: the package, which is what is installed, and what imports it and talks to it."""
NAMES = (*TRACKERS, GOODPUT)
"""All that `train.trackers` may hold."""


def check_trackers(names: tuple[str, ...]) -> None:
    """Makes sure that these trackers can be used.

    Raises:
      InputError: a name is none of `NAMES`, or its package is not installed; says what to type.
    """
    packages = {name: package for name, (package, _) in TRACKERS.items()} | {GOODPUT: GOODPUT_PACKAGE}
    for name in names:
        if name not in NAMES:
            raise InputError(f"{name!r} is unknown", where="train.trackers", fix=f"use some of {', '.join(NAMES)}")
        package = packages[name]
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{name} is not installed", where="train.trackers", fix=f"pip install {package.replace('_', '-')}"
            )


def open_trackers(names: tuple[str, ...], folder: Path, run: str, first: int) -> list[Tracker]:
    """Trackers of a run that are told its metrics.

    Args:
      names: of `TRACKERS`; "goodput" is told what happens when instead, see `encore_jax.train.goodput`.
      folder: of the run's metrics; offline files go there.
      run: its name.
      first: the step that training goes on at.

    Raises:
      InputError: see `check_trackers`.
    """
    check_trackers(names)
    started = []
    for name in [name for name in names if name in TRACKERS]:
        package, start = TRACKERS[name]
        started.append(start(folder, run, first, functools.partial(importlib.import_module, package)))
    return started


def _logged_in() -> bool:
    """Whether wandb has a key, without asking it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _identifier(folder: Path) -> str:
    """One that a run keeps when it is resumed: made of its folder's path."""
    return "".join(letter if letter.isalnum() else "-" for letter in str(folder.absolute()))[-100:].strip("-")
