"""EasyDeL's side of train_throughput: its RewardTrainer on the same tokens, in an environment of its own.

    python -m venv easydel && easydel/bin/pip install easydel==0.3.0 torch==2.13.0 pillow
    python -m experiments.benchmarks.train_throughput --pairs=pairs.jsonl --easydel=easydel/bin/python

EasyDeL pins a JAX of its own (0.9.2), which this package does not run on, and reads a checkpoint through torch; so the
file imports nothing of this package and is run as a script: FOLDER holds the model in Hugging Face's format and
pairs.npz (all tokens, and the length of each sequence, chosen and rejected in turn). The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

MICRO_BATCH = 2
"""Pairs that go through its model at once: all 8 of a step want 56 GB in one piece."""


def summary(times: list[float], pairs: list[float], peak_gib: float) -> dict:
    """What a round of one side reports, from the seconds and pairs of its timed steps."""
    return {
        "pairs_per_second": sum(pairs) / sum(times),
        "pairs_per_step": sum(pairs) / len(pairs),
        "peak_gib": peak_gib,
    }


def main(
    folder: str, dtype: str, steps: int, warm_up: int, batch: int, length: int, threads: int, rate: float, seed: int
) -> None:
    """Trains warm_up + steps steps and prints the timed ones."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)
    import easydel as ed
    import jax
    import jax.numpy as jnp
    from transformers import AutoTokenizer

    model = ed.AutoEasyDeLModelForSequenceClassification.from_pretrained(
        folder,
        dtype=jnp.dtype(dtype),
        param_dtype=jnp.float32,
        num_labels=1,
        config_kwargs=ed.EasyDeLBaseConfigDict(gradient_checkpointing=ed.EasyDeLGradientCheckPointers.NOTHING_SAVEABLE),
    )
    times = []

    class Timed(ed.RewardTrainer):
        def _execute_train_step(self, *args, **kwargs):
            start = time.perf_counter()
            out = super()._execute_train_step(*args, **kwargs)
            jax.block_until_ready(out[1].loss)  # the state may be donated already
            times.append(time.perf_counter() - start)
            return out

    arguments = ed.RewardConfig(
        total_batch_size=MICRO_BATCH, gradient_accumulation_steps=batch // MICRO_BATCH, max_length=length,
        max_training_steps=warm_up + steps, num_train_epochs=1,
        learning_rate=rate, clip_grad=1.0, center_rewards_coefficient=None, save_directory=f"{folder}/easydel",
        do_last_save=False, use_wandb=False, report_metrics=False, progress_bar_type="json", track_memory=False,
    )  # fmt: skip
    Timed(
        arguments=arguments,
        model=model,
        train_dataset=_rows(folder).shuffle(seed=seed),
        processing_class=AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
    ).train()
    timed = times[warm_up : warm_up + steps]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    processed = {"tokens_per_pair": 2.0 * length}  # every sequence is padded to the greatest length
    print(json.dumps(processed | summary(timed, [batch] * len(timed), peak)))


def _rows(folder: str):
    import numpy as np
    from datasets import Dataset

    with np.load(f"{folder}/pairs.npz", allow_pickle=False) as arrays:
        sequences = np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])
    columns = {}
    for side, many in (("chosen", sequences[0::2]), ("rejected", sequences[1::2])):
        columns[f"input_ids_{side}"] = [s.tolist() for s in many]
        columns[f"attention_mask_{side}"] = [[1] * len(s) for s in many]
    return Dataset.from_dict(columns)


if __name__ == "__main__":
    kinds = (str, str, int, int, int, int, int, float, int)
    if len(sys.argv) != len(kinds) + 1:
        print(__doc__)
        sys.exit(0 if "--help" in sys.argv else 2)
    main(*(kind(text) for kind, text in zip(kinds, sys.argv[1:], strict=True)))
