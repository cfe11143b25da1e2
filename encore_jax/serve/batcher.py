"""Continuous batching: texts of many requests wait in one queue, and a thread takes what fits through the model."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from encore_jax.data.distinct import digest
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.packing import next_batch

FIRST_PACE = 1000.0
"""Tokens a second, until the first batch has been timed."""

_LOG = logging.getLogger("encore_jax.serve")


class Busy(Exception):
    """Too much waits already; `retry_after` says for how many seconds."""

    def __init__(self, retry_after: int):
        self.retry_after = retry_after
        super().__init__(f"too many texts wait; try again in {retry_after} s")


class Closed(Exception):
    """The server is shutting down and takes nothing new."""


class ScoringFailed(Exception):
    """The model, or something on the way to it, failed; what it raised is the cause. Says nothing of the request."""


class NotFinite(Exception):
    """The model's scores of a text are NaN or infinite."""


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
    key: bytes


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """What went through the model at once: tokens without and with padding, texts, and seconds."""

    useful: int
    processed: int
    texts: int
    seconds: float


class Batcher:
    """Scores texts as they come; start it before use, and close it to let it finish what it has.

    Equal token sequences are run once and get one score: those that wait at the same time, and those that came before
    while their values are remembered. (A batch of another shape or with other neighbours rounds differently.)

    Whatever is raised on the way through the model, of whatever kind, ends the requests concerned with it, and the
    next ones are scored. If even that fails, all requests end and `alive` is False.

    Args:
      scorer: warmed up.
      max_waiting_tokens: more than so many waiting tokens are refused, unless nothing waits.
      report: called after every batch, in the batcher's thread.
      remember: number of texts whose values are kept.
    """

    def __init__(
        self,
        scorer: Scorer,
        max_waiting_tokens: int,
        report: Callable[[BatchReport], None] = lambda report: None,
        *,
        remember: int = 1 << 16,
    ):
        self._scorer, self._limit, self._report, self._remember = scorer, max_waiting_tokens, report, remember
        self._queue: list[_Waiting] = []
        self._known: collections.OrderedDict[bytes, np.ndarray] = collections.OrderedDict()
        self._open: set[Job] = set()
        self._tokens, self._pace = 0, FIRST_PACE
        self._closing = False
        self._dead: ScoringFailed | None = None
        self._last_words = ScoringFailed("the batcher has stopped")  # made while there is memory for it
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
        return self._thread.is_alive() and self._dead is None

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
          ScoringFailed: the batcher is dead.
        """
        values = np.full((len(sequences), self._scorer.columns), np.nan, np.float32)
        job = Job(concurrent.futures.Future(), values, len(sequences))
        waiting = [
            _Waiting(job, i, sequence, group, digest(np.asarray(sequence, np.int32)))
            for i, (sequence, group) in enumerate(zip(sequences, groups, strict=True))
        ]
        tokens = sum(map(len, sequences))
        with self._changed:
            if self._dead:
                raise self._dead
            if self._closing:
                raise Closed
            if self._queue and self._tokens + tokens > self._limit:
                raise Busy(min(60, max(1, math.ceil(self._tokens / self._pace))))
            self._open.add(job)
            self._queue += waiting
            self._tokens += tokens
            self._changed.notify_all()
        return job

    def drop(self, job: Job) -> None:
        """Forgets a request that nobody waits for any more."""
        job.answer.cancel()
        self._forget(job)

    def _forget(self, job: Job) -> None:
        with self._changed:
            self._open.discard(job)
            self._take(lambda waiting: waiting.job is job)

    def _take(self, wanted: Callable[[_Waiting], bool]) -> list[_Waiting]:
        """Takes texts out of the queue; only where `_changed` is held."""
        taken = [waiting for waiting in self._queue if wanted(waiting)]
        self._queue = [waiting for waiting in self._queue if not wanted(waiting)]
        self._tokens -= sum(len(waiting.sequence) for waiting in taken)
        return taken

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # of a thread: nobody else would hear of it
            self._die(error)

    def _turn(self) -> bool:
        """One batch; whether there may be another one."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            if not self._queue:
                return False
            concerned = list(self._queue)
        try:
            fresh = self._answer_known(concerned)
            if fresh:
                texts = list({waiting.key: waiting for waiting in reversed(fresh)}.values())[::-1]
                batch = next_batch(
                    [text.sequence for text in texts],
                    [text.group for text in texts],
                    self._scorer.shapes,
                    [len(text.sequence) for text in texts],
                )
                keys = {texts[i].key for trees in batch.rows for tree in trees for i in tree.keys}
                with self._changed:
                    concerned = self._take(lambda waiting: waiting.key in keys)
                rows = self._run(batch, texts, len(concerned))
                for waiting in concerned:
                    self._answer(waiting, rows[waiting.key])
        except BaseException as error:  # whatever it is, it belongs to these requests; the next ones may fare better
            failure = ScoringFailed("the model failed")
            failure.__cause__ = error
            for job in dict.fromkeys(waiting.job for waiting in concerned):
                self._fail(job, failure)
            _LOG.error("a batch failed", exc_info=error)
        return True

    def _answer_known(self, queue: list[_Waiting]) -> list[_Waiting]:
        """Answers the texts whose values are remembered; returns the others."""
        with self._changed:
            known = self._take(lambda waiting: waiting.key in self._known)
        for waiting in known:
            self._known.move_to_end(waiting.key)
            self._answer(waiting, self._known[waiting.key])
        return [waiting for waiting in queue if waiting.key not in self._known]

    def _run(self, batch, texts: list[_Waiting], count: int) -> dict[bytes, np.ndarray]:
        """Values ``[C]`` of a batch's texts by their keys; `count` requests' texts get them."""
        start = time.perf_counter()
        indices, values = self._scorer.dispatch(batch.rows, batch.shape).collect()
        seconds = time.perf_counter() - start
        useful = sum(len(tree) for trees in batch.rows for tree in trees)
        self._pace = 0.8 * self._pace + 0.2 * useful / max(seconds, 1e-9)
        try:
            self._report(BatchReport(useful, batch.shape.tokens, count, seconds))  # before a client can ask for it
        except Exception:
            _LOG.exception("a batch was not counted")
        rows = {texts[i].key: row.copy() for i, row in zip(indices.tolist(), values, strict=True)}
        self._known |= {key: row for key, row in rows.items() if np.isfinite(row).all()}
        while len(self._known) > self._remember:
            self._known.popitem(last=False)
        return rows

    def _answer(self, waiting: _Waiting, row: np.ndarray) -> None:
        job = waiting.job
        if not np.isfinite(row).all():
            return self._fail(job, NotFinite(f"the model's scores of text {waiting.index} are not finite"))
        job.values[waiting.index] = row
        job.left -= 1
        if not job.left:
            with self._changed:
                self._open.discard(job)
            with contextlib.suppress(concurrent.futures.InvalidStateError):  # dropped meanwhile
                job.answer.set_result(job.values)

    def _fail(self, job: Job, error: Exception) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # dropped meanwhile, or failed before
            job.answer.set_exception(error)
        self._forget(job)

    def _die(self, error: BaseException) -> None:
        """Ends every request there is, and all that come."""
        self._last_words.__cause__ = error
        with self._changed:
            self._dead = self._last_words
            jobs, self._queue, self._tokens = list(self._open), [], 0
        for job in jobs:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                job.answer.set_exception(self._last_words)
        _LOG.critical("the batcher has stopped", exc_info=error)
