"""Progress with an estimate of the time left: a bar on a terminal, plain lines elsewhere, silence off process 0."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from absl import logging

Item = TypeVar("Item")
LINE_EVERY_SECONDS = 10.0
SAY_AFTER = 2.0
"""Seconds within which a command that has begun says what it does."""
_whole = contextvars.ContextVar("whole", default="")
_heard = [0.0]  # when work was last seen to go on, of the whole process: also by the thread of `at_work`


@contextlib.contextmanager
def part_of(whole: str) -> Iterator[None]:
    """Within it, progress also says where it stands in something larger, e.g. ``stage 3 of 10``."""
    token = _whole.set(whole)
    try:
        yield
    finally:
        _whole.reset(token)


def _labelled(label: str) -> str:
    whole = _whole.get()
    return f"{label} ({whole})" if whole else label


@contextlib.contextmanager
def at_work(label: str, *, first: float | None = None) -> Iterator[None]:
    """Within it, a line says that work continues, and since when, whenever no progress was seen for some seconds.

    Quick work says nothing; nor do processes other than process 0. Its thread ends with it.

    Args:
      label: what is done.
      first: seconds until the first line, where nobody has said anything before; as between lines if left out.
    """
    if jax.distributed.is_initialized() and jax.process_index():  # a lone process needs no devices to know
        yield
        return
    ended, began = threading.Event(), time.perf_counter()
    _heard[0] = began if first is None else began - LINE_EVERY_SECONDS + first

    def speak() -> None:
        while not ended.wait(max(_heard[0] + LINE_EVERY_SECONDS - time.perf_counter(), 0)):
            if time.perf_counter() - _heard[0] >= LINE_EVERY_SECONDS:
                _say(f"{label}: at work for {clock(time.perf_counter() - began)}")

    thread = threading.Thread(target=speak, name="at work", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def seen() -> None:
    """Tells `at_work` that its user has just been told something in another way."""
    _heard[0] = time.perf_counter()


def _say(line: str) -> None:
    """A line of the log; to stderr where nobody has started one, as in a notebook: whoever waits must see it."""
    seen()
    if logging.level_info():
        logging.info("%s", line)
    else:
        print(line, file=sys.stderr, flush=True)


def track(items: Iterable[Item], total: float, label: str, size=lambda item: 1) -> Iterator[Item]:
    """Yields the items, showing how much of `total` is done; `size(item)` is an item's share of the work."""
    if jax.process_index():
        yield from items
    elif sys.stderr.isatty():
        yield from _bar(items, total, label, size)
    else:
        yield from _lines(items, total, label, size)


def _bar(items, total, label, size):
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(_labelled(label), total=total)
        for item in items:
            yield item
            progress.advance(task, size(item))
            seen()


def _lines(items, total, label, size):
    last = time.monotonic()
    done = shown = 0
    if not logging.level_info():
        _say(f"{_labelled(label)}: begun; what is compiled for the first time takes longer")
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        seen()  # the next line is due soon
        if now - last >= LINE_EVERY_SECONDS:
            pace = (done - shown) / (now - last)  # since the last line: a resumed run begins with what is cached
            left = (total - done) / max(pace, 1e-9)
            last, shown = now, done
            _say(f"{_labelled(label)}: {100 * done / total:.0f} %, {clock(left)} left")


class Pace:
    """Progress of something that says how far it is, with an estimate of the time left; silent off process 0.

    Args:
      total: where it ends.
      label: what it is.
    """

    def __init__(self, total: float, label: str):
        self._total, self._label = total, _labelled(label)
        self._last, self._shown = None, 0

    def __call__(self, done: float, text: str) -> None:
        """Says, every some seconds, what share is done; `text` says more."""
        now = time.monotonic()
        seen()
        if self._last is None:
            self._last, self._shown = now, done  # the first step includes compilation
        elif (now - self._last >= LINE_EVERY_SECONDS or done == self._total) and jax.process_index() == 0:
            pace = (done - self._shown) / max(now - self._last, 1e-9)
            left = clock((self._total - done) / max(pace, 1e-9))
            self._last, self._shown = now, done
            _say(f"{self._label}: {100 * done / self._total:.0f} %, {left} left; {text}")


def clock(seconds: float) -> str:
    """Hours, minutes, seconds.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
