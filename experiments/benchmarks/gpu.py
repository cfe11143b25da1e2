"""Training and scoring on one NVIDIA GPU: tokens a second, beside TRL, and the share of the chip's bf16 peak.

    make bench-gpu PAIRS=pairs.jsonl          measures, and puts the table into docs/benchmarks.md
    python -m experiments.benchmarks.gpu --pairs=pairs.jsonl [--model=FOLDER] [--rows=16] [--length=2048] [--steps=10]

Needs the extras `cuda` and `bench`. Every measurement runs in a process of its own, on the same pairs and the same
model (SmolLM2-135M-Instruct, or a Hugging Face folder): this project with cuDNN's attention and with XLA's, and TRL's
RewardTrainer (to score: the model of transformers in `torch.inference_mode`), all with bf16 computation, fp32 master
weights where they train, and no recomputation of activations. Ours takes packed rows; the other side as many pairs a
step as fit the same number of tokens if they are of mean length, padded to the longest.

FLOPs are counted by arithmetic of the tokens that a side processes, padding included (`encore_jax.parallel.flops`), and
the peak is the data sheet's (`encore_jax.parallel.chips`). Without a GPU nothing is measured and nothing is claimed.
--cpu measures this project's side on tiny sizes on a CPU: it tries the code, and its table says so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.errors import InputError
from encore_jax.parallel.chips import peak_flops
from experiments.benchmarks import train_throughput as beside

SIDES = ("ours", "trl")
WORK = ("train", "score")
MEASURED = (("ours", "cudnn"), ("ours", "xla"), ("trl", "sdpa"))
WARM_UP = 2
FOLDER = Path("runs/gpu")
HEAD = ("work", "side", "attention", "pairs/s", "tokens/s, padding included", "share of the bf16 peak")


def table(device: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of measurements, and in words the ratios of pairs a second.

    Args:
      device: what jax calls the device.
      rows: of each measurement "work", "side", "attention", "pairs_per_second", "tokens_per_second" and
        "flops_per_second".

    >>> row = {"work": "train", "side": "ours", "attention": "xla", "pairs_per_second": 2.0,
    ...        "tokens_per_second": 1000.0, "flops_per_second": 98.9e12}
    >>> print(table("NVIDIA H200", [row]).strip())
    On one NVIDIA H200, bf16 peak 989 TFLOP/s:
    <BLANKLINE>
    | work | side | attention | pairs/s | tokens/s, padding included | share of the bf16 peak |
    |---|---|---|---|---|---|
    | train | ours | xla | 2.00 | 1,000 | 0.100 |
    """
    peak = peak_flops(device)
    known = f"bf16 peak {peak / 1e12:.0f} TFLOP/s" if peak else "whose bf16 peak is not known here"
    lines = [f"On one {device}, {known}:", "", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        share = f"{row['flops_per_second'] / peak:.3f}" if peak else ""
        speeds = f"{row['pairs_per_second']:.2f} | {row['tokens_per_second']:,.0f}"
        lines.append(f"| {row['work']} | {row['side']} | {row['attention']} | {speeds} | {share} |")
    return "\n".join([*lines, "", *_ratios(rows)]) + "\n"


def _ratios(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    speed = {(row["work"], row["side"], row["attention"]): row["pairs_per_second"] for row in rows}
    pairs = [(work, ("ours", "cudnn"), other) for work in WORK for other in MEASURED[1:]]
    return [
        f"{work}: {' '.join(ours)} over {' '.join(other)} {speed[work, *ours] / speed[work, *other]:.2f} in pairs/s. "
        for work, ours, other in pairs
        if (work, *ours) in speed and (work, *other) in speed
    ]


def main() -> None:
    """Measures one after the other, prints the table and a JSON line, and writes runs/gpu/gpu.md."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", required=True, help="comparisons with prompt, chosen, rejected")
    parser.add_argument("--model", default="", help="a Hugging Face folder; SmolLM2-135M-Instruct if left out")
    parser.add_argument("--rows", type=int, default=16, help="rows of a step")
    parser.add_argument("--length", type=int, default=beside.LENGTH, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    parser.add_argument("--cpu", action="store_true", help="try the code on a CPU: ours alone, nothing to publish")
    parser.add_argument("--worker", nargs=4, metavar=("SIDE", "WORK", "ATTENTION", "FOLDER"), help="")
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(_work(given, *given.worker)))
        return
    device = _ask(given, "device", "", "", "")["device"]
    if not given.cpu and "NVIDIA" not in device:
        fix = "run it on a machine with an NVIDIA GPU, after pip install -e '.[cuda,bench]'"
        raise InputError(f"jax has no NVIDIA GPU here, only {device}", where="bench-gpu", fix=fix)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.model or temporary
        if not given.model:
            beside.write_checkpoint(Path(temporary))
        rows = []
        for work in WORK:
            for side, attention in [("ours", "xla")] if given.cpu else MEASURED:
                found = _ask(given, side, work, attention, folder)
                rows.append({"work": work, "side": side, "attention": attention} | found)
                print(rows[-1], flush=True)
    text = table(device, rows)
    print(text)
    if given.cpu:
        print("Nothing is written: these are a CPU's numbers.")
    else:
        make_folder(FOLDER)
        with atomic_path(FOLDER / "gpu.md") as path:
            path.write_text(text, encoding="utf-8")
    print(json.dumps({"device": device, "rows": rows}))


def _ask(given, *worker: str) -> dict:
    """One measurement in a process of its own, which has the whole GPU."""
    options = [f"--{name}={getattr(given, name)}" for name in ("pairs", "model", "rows", "length", "steps")]
    command = [sys.executable, "-m", "experiments.benchmarks.gpu", *options, *(["--cpu"] if given.cpu else [])]
    own = {"JAX_PLATFORMS": "cpu"} if given.cpu else {}
    done = subprocess.run([*command, "--worker", *worker], capture_output=True, text=True, env=os.environ | own)
    if done.returncode:
        sys.exit(f"{' '.join(worker[:3])} failed with exit status {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _work(given, side: str, work: str, attention: str, folder: str) -> dict:
    if side == "device":
        import jax

        device = jax.devices()[0]
        return {"device": device.device_kind if device.platform == "gpu" else device.platform}
    sequences = beside.sequences_of(given.pairs, Path(folder), given.length)
    run = {"ours": _ours, "trl": _trl}[side]
    return run(given, work, attention, Path(folder), sequences)


def _ours(given, work: str, attention: str, folder: Path, sequences) -> dict:
    import jax
    import jax.numpy as jnp

    from encore_jax.checkpoints.huggingface import load_backbone, load_config
    from encore_jax.parallel.flops import step_flops
    from encore_jax.parallel.mesh import MeshSettings, make_mesh
    from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
    from encore_jax.train.batches import training_batches
    from encore_jax.train.program import make_program
    from encore_jax.train.settings import TrainSettings

    sizes = {"rows": given.rows, "length": given.length, "remat": "none", "attention": attention}
    settings = TrainSettings(loss="bradley_terry", trainable="all", lr=beside.RATE, clip=1.0, **sizes)
    mesh = make_mesh(MeshSettings(), jax.devices()[:1])
    cfg = load_config(folder)
    program = make_program(cfg, 1, settings, mesh, steps=1000, dtype="bfloat16")
    trees = lay_comparisons(sequences, given.length).trees
    backbone = load_backbone(folder, program.param_dtype, program.param_shardings["backbone"])[1]
    state = program.start(backbone, jax.random.key(0))
    params = state.trainable | state.frozen
    epochs = given.steps + WARM_UP  # never too few: each has a batch or more
    stream = iter(training_batches(trees, preference_targets(len(sequences) // 2), program.shape, 0, epochs))
    weights, times, pairs = jnp.ones(1), [], 0.0
    for i in range(WARM_UP + given.steps):
        batch = next(stream)
        start = time.perf_counter()
        if work == "train":
            state, metrics = program.step(state, program.place(batch), weights)
            jax.block_until_ready((state, metrics))
        else:
            program.scores(params, jax.tree.map(lambda x: x[0], batch)).block_until_ready()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
            pairs += float(batch.paired.sum())
    stream.close()
    flops = program.flops
    if work == "score":
        flops = step_flops(
            cfg, rows=given.rows, length=given.length, ends=program.shape.ends, rules=1, trainable="none"
        )
    return _speeds(times, pairs, given.rows * given.length * len(times), flops * len(times))


def _speeds(times: Sequence[float], pairs: float, tokens: float, flops: float) -> dict:
    """Of all timed steps together."""
    seconds = sum(times)
    names = ("pairs_per_second", "tokens_per_second", "flops_per_second")
    speeds = dict(zip(names, (pairs / seconds, tokens / seconds, flops / seconds), strict=True))
    return speeds | {"step_seconds": statistics.median(times)}


def _trl(given, work: str, attention: str, folder: Path, sequences) -> dict:
    """The other side: as many pairs at once as the tokens of a step hold, if they are of mean length."""
    import torch
    import transformers

    mean = sum(map(len, sequences)) / len(sequences)
    batch = max(1, int(given.rows * given.length / (2 * mean)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, pad_token_id=tokenizer.pad_token_id, attn_implementation=attention,
        dtype=torch.float32 if work == "train" else torch.bfloat16,
    )  # fmt: skip
    rows = [[int(t) for t in sequence] for sequence in sequences]
    shapes: list[tuple[int, int]] = []
    times = (_trl_training if work == "train" else _torch_scoring)(given, model, tokenizer, rows, batch, folder, shapes)
    shapes = shapes[-len(times) :]
    return _speeds(
        times, batch * len(times), sum(n * length for n, length in shapes), _peers_flops(folder, shapes, work)
    )


def _peers_flops(folder: Path, shapes: Sequence[tuple[int, int]], work: str) -> float:
    from encore_jax.checkpoints.huggingface import load_config
    from encore_jax.parallel.flops import step_flops

    cfg, trainable = load_config(folder), "all" if work == "train" else "none"
    return sum(step_flops(cfg, rows=n, length=length, ends=n, rules=1, trainable=trainable) for n, length in shapes)


def _torch_scoring(given, model, tokenizer, rows, batch: int, folder: Path, shapes) -> list[float]:
    import torch

    model, times = model.cuda().eval(), []
    for i in range(WARM_UP + given.steps):
        some = [rows[(2 * batch * i + j) % len(rows)] for j in range(2 * batch)]
        inputs = tokenizer.pad({"input_ids": some}, return_tensors="pt").to("cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.inference_mode():
            model(**inputs).logits.float().cpu()
        if i >= WARM_UP:
            times.append(time.perf_counter() - start)
        shapes.append(tuple(inputs["input_ids"].shape))
    return times


def _trl_training(given, model, tokenizer, rows, batch: int, folder: Path, shapes) -> list[float]:
    import torch
    import transformers
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    times: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            torch.cuda.synchronize()
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            torch.cuda.synchronize()
            if state.global_step > WARM_UP:
                times.append(time.perf_counter() - self.start)

    class Counting(RewardTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            shapes.append(tuple(inputs["input_ids"].shape))
            return super().compute_loss(model, inputs, *args, **kwargs)

    arguments = RewardConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=batch, max_length=given.length,
        max_steps=WARM_UP + given.steps, learning_rate=beside.RATE, max_grad_norm=1.0, bf16=True, report_to=[],
        save_strategy="no", logging_steps=1000, seed=0, optim="adamw_torch", disable_tqdm=True,
        activation_checkpointing=False, gradient_checkpointing=False,
    )  # fmt: skip
    data = Dataset.from_dict({"chosen_ids": rows[0::2], "rejected_ids": rows[1::2]}).shuffle(seed=0)
    Counting(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()]).train()
    return times


if __name__ == "__main__":
    with one_line_errors():
        main()
