"""A local judge over the devices of several processes: process 0 asks, the others follow it.

A program over devices of several processes runs when all of them start it. Only process 0 reads data, lays out rows and
has the journal; before each step it sends the rows, which are a few thousand token ids, and the others start the same
program on them with their shards of the model.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import numpy as np
from jax.experimental import multihost_utils

from encore_jax.errors import InputError
from encore_jax.model.branch_rows import Shape, lay_out
from encore_jax.model.branching import BranchRows
from encore_jax.terminal_text import cut, one_line


class Order(enum.IntEnum):
    """What process 0 tells the others to do."""

    FINISH = 0
    LOAD = 1
    STEP = 2


class Steps(Protocol):
    """A judge, as far as those who follow need it."""

    def step(self, rows: BranchRows, shape: Shape) -> object:
        """Starts the program on these rows."""
        ...


def load_everywhere(load: Callable[[], Steps]) -> Steps:
    """On process 0: loads the judge here, while all others do.

    Raises:
      InputError: it could not be loaded, here or on another process; then on all of them.
    """
    _broadcast(np.array([Order.LOAD, 0, *[0] * len(Shape._fields)], np.int32))
    return _loaded(load)


def _loaded(load: Callable[[], Steps]) -> Steps:
    """What `load` makes, once it has made one on every process."""
    judge, problem = None, None
    try:
        judge = load()
    except Exception as error:  # whatever it is, the others must not wait for this process's steps
        problem = error
    failed = np.flatnonzero(multihost_utils.process_allgather(np.array(problem is not None)))
    if problem is not None:
        raise (
            problem
            if isinstance(problem, InputError)
            else InputError(
                f"cannot be loaded: {type(problem).__name__}: {cut(one_line(problem), 300)}",
                where="the judge's model",
                fix="see to the model's files and this host's memory",
            )
        ) from problem
    if failed.size:
        where = f"process {', '.join(map(str, failed))}"
        raise InputError("the judge's model: cannot be loaded there", where=where, fix="see that process's log")
    return judge


def send_step(rows: BranchRows, shape: Shape) -> None:
    """On process 0: all others start this step, and this process has to; waits until they have the rows."""
    _broadcast(np.array([Order.STEP, len(rows.root), *shape], np.int32))
    _broadcast(rows)


def send_finish() -> None:
    """On process 0: there is nothing more to follow."""
    _broadcast(np.array([Order.FINISH, 0, *[0] * len(Shape._fields)], np.int32))


def follow(load: Callable[[], Steps]) -> None:
    """On every other process: does what process 0 tells, until it says that it is finished.

    Args:
      load: makes the judge, with the same settings and files as on process 0.

    Raises:
      InputError: from `load`, on all processes alike.
    """
    judge, problem = None, None
    while (told := _broadcast(np.zeros(2 + len(Shape._fields), np.int32)))[0] != Order.FINISH:
        if told[0] == Order.LOAD:
            try:
                judge = _loaded(load)
            except InputError as error:  # process 0 has one too, and will finish
                problem = error
        else:
            shape = Shape(*map(int, told[2:]))
            judge.step(_broadcast(lay_out([], shape, int(told[1]))[0]), shape)
    if problem is not None:
        raise problem


def _broadcast(value):
    """Process 0's value on every process."""
    return multihost_utils.broadcast_one_to_all(value)
