"""A judge behind HTTP: one process keeps hundreds of requests in flight at any OpenAI-compatible server.

An event loop runs in a thread of its own, so that requests stay in flight while the caller works on answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import queue
from collections.abc import Iterable, Iterator
from typing import Any

from encore_jax.errors import InputError
from encore_jax.helper_thread import HelperThread
from encore_jax.http.client import Client
from encore_jax.http.settings import ServerSettings
from encore_jax.judge.calls.call import by_call
from encore_jax.judge.question import NOT_ASKED, Answer, Identity, Status
from encore_jax.judge.request import RequestFormat

LOOKAHEAD = 2
"""Questions drawn but not yet answered and handed on, per request that may be in flight."""


class ServerJudge:
    """Answers questions through `RequestFormat.body` and `RequestFormat.read`; of ratings or of pairs, whatever asks.

    Args:
      asking: how a question becomes a request.
      settings: where, and how hard; checked.
    """

    def __init__(self, asking: RequestFormat, settings: ServerSettings):
        settings.check()
        self._asking, self._settings = asking, settings
        self.identity: Identity = asking.identity

    def answers(self, questions: Iterable[Any]) -> Iterator[tuple[Any, Answer]]:
        """Every question with its answer, as soon as there is one; a question that fails has an answer too.

        Questions are drawn in the caller's thread, at most `LOOKAHEAD` times the concurrency ahead of the answers.

        Raises:
          InputError: no further request can succeed (see `Client.ask`); answers that had come are handed out before.
        """
        with contextlib.closing(self.replies(questions)) as replies:
            for reply in replies:
                yield from reply

    def replies(self, questions: Iterable[Any]) -> Iterator[list[tuple[Any, Answer]]]:
        """As `answers`, the questions that are asked in one call together."""
        lane = _Lane(self._asking, self._settings)
        most = LOOKAHEAD * self._settings.concurrency
        open_questions = 0
        try:
            for asked in by_call(questions):
                lane.put(asked)
                open_questions += 1
                while open_questions >= most or (open_questions and lane.ready()):
                    yield lane.get()
                    open_questions -= 1
            while open_questions:
                yield lane.get()
                open_questions -= 1
        finally:
            lane.close()


class _Lane:
    """The event loop's thread, with a way in and a way out."""

    def __init__(self, asking: RequestFormat, settings: ServerSettings):
        self._asking, self._settings = asking, settings
        self._client = Client(settings, asking.path)  # first: a missing key is told to the caller, and nothing is open
        self._out: queue.SimpleQueue = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._in: asyncio.Queue = asyncio.Queue()
        self._helper = HelperThread(self._run, "server-judge", self._out)

    def put(self, questions: list[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended; why is the next thing to `get`
            self._loop.call_soon_threadsafe(self._in.put_nowait, questions)

    def ready(self) -> bool:
        return not self._out.empty() or self._helper.ended

    def get(self) -> list[tuple[Any, Answer]]:
        return self._helper.get(self._out)

    def close(self) -> None:
        """Cancels what is in flight, closes every connection and ends the thread."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(lambda: self._main.cancel())
        self._helper.join()

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._main = self._loop.create_task(self._work())
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._end()

    def _end(self) -> None:
        """Closes the loop once nothing runs in it; what ends a process may come out of it again and again."""
        try:
            for _ in range(self._settings.concurrency + 8):
                with contextlib.suppress(BaseException):
                    self._loop.run_until_complete(self._end_all())
                    break
        finally:
            self._loop.close()

    async def _end_all(self) -> None:
        """Ends what an exception has left behind, and closes its connections."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._client.close()
        for _ in range(8):  # connections close in the loop's next rounds
            await asyncio.sleep(0)
        await self._loop.shutdown_asyncgens()

    async def _work(self) -> None:
        async with self._client, asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        while True:
            questions = await self._in.get()
            self._out.put(list(zip(questions, await self._answers(questions), strict=True)))

    async def _answers(self, questions: list[Any]) -> list[Answer]:
        try:
            body = self._asking.body(questions[0])
        except InputError as error:  # e.g. the tokenizer's template refuses this one
            return [Answer(Status.FAILED, evidence={"words": str(error)}, problem=NOT_ASKED)] * len(questions)
        reply = await self._client.ask(body)
        if reply.body is None:
            evidence = {"raw": reply.raw} if reply.raw else {}
            evidence |= {"words": reply.words} if reply.words else {}
            failed = Answer(Status.FAILED, evidence=evidence, problem=reply.problem, faults=reply.faults)
            return _of_one_reply(failed, len(questions))
        answers = self._asking.read_all(reply.body, questions)
        if not reply.faults:
            return answers
        return [dataclasses.replace(answers[0], faults=reply.faults), *answers[1:]]


def _of_one_reply(answer: Answer, questions: int) -> list[Answer]:
    """The same answer to all questions of a call; what went wrong on the way to it is counted once."""
    return [answer, *[dataclasses.replace(answer, faults=())] * (questions - 1)]


def _first(group: BaseExceptionGroup) -> BaseException:
    """One of the exceptions of a group, however deep."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
