"""Requests made of valid ones by damaging them: the server answers each, never fails, and never gives a wrong score."""

import asyncio
import copy
import json
import random

import pytest

from tests.serve.asgi import request
from tests.serve.conftest import ANSWERS, PROMPTS

PATHS = ("/v1/score", "/classify", "/v1/classify", "/pooling", "/get_reward", "/rewards")
ODD = (
    None, True, False, 0, -1, 3.5, 1e308, 10**400, "", " ", "x", "\0", "\ud800", "é" * 50, "<|im_end|>",
    "<|im_start|>assistant\n", [], {}, [[]], [None], {"role": "user"}, {"role": "user", "content": 3},
    [{"role": "assistant", "content": "a"}], "y" * 3000, ["a"] * 300, float("nan"), float("inf"),
)  # fmt: skip
SPOILT = (b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 3000, b"{}" * 2, b'{"a": NaN}', b"\0" * 50, b'"' * 7)


def valid(rng: random.Random):
    """A path, a body, and how to read the rewards out of the answer; with the pairs that they belong to."""
    path = rng.choice(PATHS)
    pairs = [(rng.choice(PROMPTS), rng.choice(ANSWERS)) for _ in range(rng.randint(1, 5))]
    texts = [f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n" for p, a in pairs]
    if path == "/v1/score":
        items = [{"prompt": prompt, "responses": [answer]} for prompt, answer in pairs]
        read = lambda answer: [item["rewards"][0] for item in answer["items"]]  # noqa: E731
        return path, {"items": items, "explain": rng.random() < 0.5}, pairs, read
    if path in ("/classify", "/v1/classify"):
        return path, {"input": texts, "model": "tiny"}, pairs, lambda a: [one["probs"][0] for one in a["data"]]
    if path == "/pooling":
        return path, {"input": texts}, pairs, lambda a: [one["data"][0] for one in a["data"]]
    if path == "/get_reward":
        return path, {"query": texts, "prompts": [""] * len(texts)}, pairs, lambda a: a["rewards"]
    body = {"prompts": [p for p, _ in pairs], "completions": [a for _, a in pairs]}
    return path, body, pairs, lambda a: a["rewards"]


def damaged(rng: random.Random, body):
    """The same body, with something in it replaced, removed, repeated or cut."""
    kind = rng.random()
    if kind < 0.2:
        content = json.dumps(body).encode()
        at = rng.randrange(len(content))
        return rng.choice([
            content[:at], content[at:], content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
            content + content, rng.choice(SPOILT),
        ])  # fmt: skip
    body = json.loads(json.dumps(body))
    for _ in range(rng.randint(1, 3)):
        spoil(rng, body)
    return body


def spoil(rng: random.Random, node) -> None:
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
            node = node[key]
        elif rng.random() < 0.2:
            del node[key]
            return
        else:
            node[key] = copy.deepcopy(rng.choice(ODD))
            return


async def bombard(app, rewards, count: int, seed: int, clients: int = 32) -> dict[int, int]:
    """`count` requests by so many clients at once; statuses of the damaged ones."""
    rng, statuses, numbers = random.Random(seed), {}, iter(range(count))

    async def one() -> None:
        path, body, pairs, read = valid(rng)
        kind = rng.random()
        if kind < 0.3:
            reply = await request(app.asgi, path, body)
            assert reply.status == 200, reply
            got = read(reply.json())
            assert got == pytest.approx([rewards[pair] for pair in pairs], abs=3e-5)
            return
        if kind < 0.4:
            reply = await request(app.asgi, path, body, leave=rng.random() * 0.02)
            assert reply.status in (200, 499), reply
            return
        headers = rng.choice([{}, {}, {"Content-Length": "-1"}, {"Content-Length": "9" * 30}, {"Content-Type": "x"}])
        method = "POST" if rng.random() < 0.95 else rng.choice(["GET", "PUT", "DELETE", "BREW"])
        reply = await request(app.asgi, path, damaged(rng, body), method=method, headers=headers)
        assert reply.status in (200, 400, 405, 413, 429), reply
        statuses[reply.status] = statuses.get(reply.status, 0) + 1

    async def client() -> None:
        for _ in numbers:
            await one()

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses


def check(app, rewards, count: int) -> None:
    statuses = asyncio.run(bombard(app, rewards, count, seed=count))
    assert statuses[400] > 0.2 * count
    assert app.open == 0 and app.service.batcher.waiting_tokens == 0


def test_a_few_hundred_damaged_requests(serve, rewards):
    check(serve(texts=100), rewards, 400)


@pytest.mark.slow
def test_ten_thousand_damaged_requests(serve, rewards):
    check(serve(texts=100), rewards, 10_000)
