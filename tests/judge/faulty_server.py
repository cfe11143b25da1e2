"""A local server that speaks the OpenAI protocol, and misbehaves on purpose; it counts what it was asked.

Run as ``python -m tests.judge.faulty_server FAULTS SEED`` it is a process of its own: it prints its port, and says what
it counted at ``GET /counts``.
"""

from __future__ import annotations

import asyncio
import collections
import json
import math
import random
import sys
import threading

from aiohttp import web

GOOD = {"Yes": 0.5, " yes": 0.125, "No": 0.25, "Ir": 0.0625}
"""Probabilities of the usual reply: rating 0.375, relevance 0.9375, 0.0625 unlisted."""

FAULTS = ("429", "429 date", "500", "dropped", "slow", "garbage", "no logprobs", "wrong tokens")
"""What it can do instead."""


def chat(probabilities: dict[str, float], text: str = "Yes") -> dict:
    """A chat's reply with these likely tokens."""
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in probabilities.items()]
    content = [{"token": top[0]["token"], "logprob": top[0]["logprob"], "top_logprobs": top}] if top else []
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": {"content": content}}]
    }


class FaultyServer:
    """Answers, or not.

    Args:
      share: of requests that meet a fault; each kind in turn at random.
      seed: of chance.
      faults: the kinds in use.
      slow: seconds a slow body takes.
    """

    def __init__(self, share: float = 0.0, seed: int = 0, faults=FAULTS, slow: float = 5.0):
        self.share, self.faults, self.slow, self.chance = share, faults, slow, random.Random(seed)
        self.asked: collections.Counter = collections.Counter()
        self.answered: collections.Counter = collections.Counter()
        self.done: collections.Counter = collections.Counter()
        self.headers: list[str] = []
        self.at_once = self.most_at_once = 0
        self.reply = chat(GOOD)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.handle)
        app.router.add_post("/v1/completions", self.handle)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/counts", self.counts)
        return app

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def counts(self, request: web.Request) -> web.Response:
        return web.json_response({"asked": self.asked, "answered": self.answered, "faults": self.done})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        question = json.dumps(body.get("messages") or body.get("prompt"))
        self.asked[question] += 1
        self.headers.append(request.headers.get("Authorization", ""))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            fault = self.chance.choice(self.faults) if self.chance.random() < self.share else None
            if fault:
                self.done[fault] += 1
                return await self.misbehave(fault, request)
            response = await self.answer(body)
            self.answered[question] += 1
            return response
        finally:
            self.at_once -= 1

    async def answer(self, body: dict) -> web.Response:
        return web.json_response(self.reply)

    async def misbehave(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "429":
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "0.02"})
        if fault == "429 date":
            past = "Thu, 01 Jan 2026 12:00:30 GMT"
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": past})
        if fault == "500":
            return web.Response(text="internal", status=500)
        if fault == "dropped":
            request.transport.close()
            return web.Response()
        if fault == "slow":
            await asyncio.sleep(self.slow)
            return web.json_response(self.reply)
        if fault == "garbage":
            return web.Response(text='{"choices": [{"mess', content_type="application/json")
        if fault == "no logprobs":
            return web.json_response(chat({}))
        return web.json_response(chat({"Sure": 0.9, "Well": 0.05}))


class Running:
    """A server in a thread: ``with Running(FaultyServer()) as url``."""

    def __init__(self, server: FaultyServer, port: int = 0):
        self.server, self.port = server, port

    def __enter__(self) -> str:
        self._loop, ready = asyncio.new_event_loop(), threading.Event()

        async def start():
            self._runner = web.AppRunner(self.server.app(), access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.port)
            await site.start()
            self.port = site._server.sockets[0].getsockname()[1]

        def run():
            asyncio.set_event_loop(self._loop)
            try:
                self._loop.run_until_complete(start())
            finally:
                ready.set()  # or the test would wait for ever
            self._loop.run_forever()
            self._loop.run_until_complete(self._runner.cleanup())
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        ready.wait()
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *error) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


if __name__ == "__main__":
    import time

    options = json.loads(sys.argv[1])
    running = Running(FaultyServer(**options))
    with running as url:
        print(url, flush=True)
        while sys.stdin.read(1):  # until the parent closes it, or dies
            time.sleep(0.01)
