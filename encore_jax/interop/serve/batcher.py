"""Continuous batching: texts of many requests wait in one queue, and a thread takes what fits through the model."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from encore_jax.interop.scorer import Scorer
from encore_jax.interop.serve.packing import next_batch

FIRST_PACE = 1000.0
"""Tokens a second, until the first batch has been timed."""


class Busy(Exception):
    """Too much waits already; `retry_after` says for how many seconds."""

    def __init__(self, retry_after: int):
        self.retry_after = retry_after
        super().__init__(f"too many texts wait; try again in {retry_after} s")


class Closed(Exception):
    """The server is shutting down and takes nothing new."""


@dataclasses.dataclass(eq=False)
class Job:
    """The texts of one request.

    Attributes:
      answer: becomes the values ``[N, C]``, as the scorer gives them.
      values: those there are so far.
      left: texts without values.
    """

    answer: concurrent.futures.Future
    values: np.ndarray
    left: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Waiting:
    job: Job
    index: int
    sequence: np.ndarray
    group: str


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """What went through the model at once: tokens without and with padding, texts, and seconds."""

    useful: int
    processed: int
    texts: int
    seconds: float


class Batcher:
    """Scores texts as they come; start it before use, and close it to let it finish what it has.

    Args:
      scorer: warmed up.
      max_waiting_tokens: more than so many waiting tokens are refused, unless nothing waits.
      report: called after every batch, in the batcher's thread.
    """

    def __init__(
        self, scorer: Scorer, max_waiting_tokens: int, report: Callable[[BatchReport], None] = lambda report: None
    ):
        self._scorer, self._limit, self._report = scorer, max_waiting_tokens, report
        self._queue: list[_Waiting] = []
        self._tokens, self._pace = 0, FIRST_PACE
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def start(self) -> None:
        """Begins to take work."""
        self._thread.start()

    def close(self, timeout: float | None = None) -> None:
        """Refuses what comes from now on, and returns when everything accepted before is answered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether it works off what waits."""
        return self._thread.is_alive()

    @property
    def waiting_tokens(self) -> int:
        """Tokens of texts that are not yet in a batch."""
        return self._tokens

    def submit(self, sequences: Sequence[np.ndarray], groups: Sequence[str]) -> Job:
        """Puts a request's texts into the queue.

        Args:
          sequences: token ids; one at least, none longer than the scorer's longest.
          groups: equal for texts of the same prompt, in whatever request.

        Raises:
          Busy: too much waits.
          Closed: after `close`.
        """
        tokens = sum(map(len, sequences))
        values = np.full((len(sequences), self._scorer.columns), np.nan, np.float32)
        job = Job(concurrent.futures.Future(), values, len(sequences))
        with self._changed:
            if self._closing:
                raise Closed
            if self._queue and self._tokens + tokens > self._limit:
                raise Busy(min(60, max(1, math.ceil(self._tokens / self._pace))))
            self._queue += [_Waiting(job, i, *pair) for i, pair in enumerate(zip(sequences, groups, strict=True))]
            self._tokens += tokens
            self._changed.notify_all()
        return job

    def drop(self, job: Job) -> None:
        """Forgets a request that nobody waits for any more."""
        job.answer.cancel()
        with self._changed:
            self._remove({i for i, waiting in enumerate(self._queue) if waiting.job is job})

    def _remove(self, indices: set[int]) -> list[_Waiting]:
        taken = [waiting for i, waiting in enumerate(self._queue) if i in indices]
        self._queue = [waiting for i, waiting in enumerate(self._queue) if i not in indices]
        self._tokens -= sum(len(waiting.sequence) for waiting in taken)
        return taken

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if not self._queue:
                    return
                queue = list(self._queue)
            batch = next_batch(
                [waiting.sequence for waiting in queue],
                [waiting.group for waiting in queue],
                self._scorer.shapes,
                [len(waiting.sequence) for waiting in queue],
            )
            taken = [queue[key] for trees in batch.rows for tree in trees for key in tree.keys]
            with self._changed:
                going = set(map(id, taken))
                self._remove({i for i, waiting in enumerate(self._queue) if id(waiting) in going})
            self._run(batch, queue, taken)

    def _run(self, batch, queue: list[_Waiting], taken: list[_Waiting]) -> None:
        start = time.perf_counter()
        try:
            keys, values = self._scorer.dispatch(batch.rows, batch.shape).collect()
        except Exception as error:  # whatever it is, it belongs to these requests; the next ones may fare better
            for job in {waiting.job for waiting in taken}:
                self._fail(job, error)
            return
        seconds = time.perf_counter() - start
        useful = sum(len(tree) for trees in batch.rows for tree in trees)
        self._pace = 0.8 * self._pace + 0.2 * useful / seconds
        self._report(BatchReport(useful, batch.shape.tokens, len(taken), seconds))  # before a client can ask for it
        for key, row in zip(keys.tolist(), values, strict=True):
            self._answer(queue[key], row)

    def _answer(self, waiting: _Waiting, row: np.ndarray) -> None:
        job = waiting.job
        if not np.isfinite(row).all():
            return self._fail(job, ArithmeticError(f"the scores of text {waiting.index} are not finite"))
        job.values[waiting.index] = row
        job.left -= 1
        if not job.left:
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # dropped meanwhile
                job.answer.set_result(job.values)

    def _fail(self, job: Job, error: Exception) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # dropped meanwhile, or failed before
            job.answer.set_exception(error)
        self.drop(job)
