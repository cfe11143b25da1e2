"""A rating run over several processes: the first one runs it, the others lend their devices."""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Iterator

import jax

from encore_jax.errors import InputError
from encore_jax.judge.followers import follow, tell_finish
from encore_jax.parallel.processes import speaks
from experiments.config import RunConfig
from experiments.rating_config import RatingConfig
from experiments.stages.judges import local_judge


class Role(enum.Enum):
    """What a process does in a run."""

    ALIKE = "the same as every other process"
    LEADER = "all of the run, and the others lend their devices"
    FOLLOWER = "no more: it has lent its devices"


@contextlib.contextmanager
def judging_together(config: RunConfig) -> Iterator[Role]:
    """Around a run; yields this process's role in it.

    Nothing but a local judge's rating run is led: every other run is the same on all processes.

    Raises:
      InputError: several processes for a judge that is not on their devices.
    """
    if jax.process_count() == 1 or not isinstance(config, RatingConfig):
        yield Role.ALIKE
        return
    if config.judge.kind != "local":
        raise InputError(
            f"judge {config.judge.kind!r} needs no second process", where="multihost", fix="run it without --multihost"
        )
    if not speaks():
        follow(functools.partial(local_judge, config))
        yield Role.FOLLOWER
        return
    try:
        yield Role.LEADER
    finally:
        tell_finish()
