"""A rating run over several processes: the first one runs it, the others lend their devices."""

from __future__ import annotations

import contextlib
import enum
import functools
import traceback
from collections.abc import Iterator
from typing import NoReturn

import jax

from encore_jax.errors import InputError
from encore_jax.judge.devices.followers import follow, send_finish
from encore_jax.parallel.processes import end_at_once, speaks
from encore_jax.recipes.panel_config import PanelConfig
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.run_config import RunConfig
from encore_jax.recipes.stages_by_name import judge_of, local_judge
from encore_jax.terminal_text import cut, one_line


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
    if jax.process_count() > 1 and isinstance(config, PanelConfig):
        fix = "run it without --multihost; a local judge on a pod is a rating run, whose ratings are a panel's table"
        raise InputError("a panel needs no second process", where="multihost", fix=fix)
    if jax.process_count() == 1 or not isinstance(config, RatingConfig):
        yield Role.ALIKE
        return
    if config.judge.kind != "local":
        raise InputError(
            f"judge {config.judge.kind!r} needs no second process", where="multihost", fix="run it without --multihost"
        )
    if not speaks():
        try:
            follow(functools.partial(local_judge, judge_of(config)))
        except InputError:
            raise  # the others have it, too
        except BaseException:
            traceback.print_exc()
            _end("this process cannot go on, and ends the others with it")
        yield Role.FOLLOWER
        return
    try:
        yield Role.LEADER
    except jax.errors.JaxRuntimeError as error:
        traceback.print_exc()
        _end(f"a step failed, here or on another process: {cut(one_line(error), 300)}")
    except BaseException:
        send_finish()
        raise
    send_finish()


def _end(problem: str) -> NoReturn:
    fix = "see the logs of all processes, and run the same command again on each; what was answered is kept"
    end_at_once(problem, fix)
