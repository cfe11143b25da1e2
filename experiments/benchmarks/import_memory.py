"""Peak host memory while a checkpoint goes from sharded safetensors into sharded device arrays.

    python -m experiments.benchmarks.import_memory [--architecture=llama-3.1-8b] [--layers=32] [--folder=/tmp/large]

Writes a bf16 checkpoint of that shape (random values; 16 GB for 8B, in files of about 5 GB) unless it is there, then
imports it in a fresh process onto eight fake CPU devices (whose memory is host memory) split over fsdp, with progress,
and compares sampled tensors with the files. Peak is the process's VmHWM: all of Python and JAX is in it, and so are
the files' mapped pages while they are in memory. The last line is one JSON object with `ratio`, peak / parameters. Exit
status 1 if the ratio exceeds --limit, or a tensor differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors

DEVICES, SHARD_BYTES = 8, 5 * 10**9


def main() -> None:
    """Writes the checkpoint if need be, imports it in a process of its own, and judges."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="llama-3.1-8b")
    parser.add_argument("--layers", type=int, default=0, help="so many layers instead of the architecture's")
    parser.add_argument("--folder", default="/tmp/encore-import")
    parser.add_argument("--limit", type=float, default=1.15)
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint where it is")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = Path(given.folder)
    if given.read:
        return _read(folder)
    _write(given.architecture, given.layers, folder)
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(DEVICES)}
    command = [sys.executable, "-m", "experiments.benchmarks.import_memory", f"--folder={folder}", "--read"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if not given.keep:
        for path in folder.iterdir():
            path.unlink()
    if done.returncode:
        sys.exit(f"the import failed with exit status {done.returncode}")
    result = json.loads(done.stdout.splitlines()[-1]) | {"limit": given.limit}
    print(json.dumps(result))
    sys.exit(0 if result["ratio"] <= given.limit and result["equal"] else 1)


def _write(architecture: str, layers: int, folder: Path) -> None:
    import ml_dtypes
    import numpy as np
    from safetensors.numpy import save_file

    from encore_jax.checkpoints.assemble import stored_names
    from encore_jax.model.architectures import architecture as named
    from encore_jax.model.params import declare

    cfg = named(architecture)
    cfg = dataclasses.replace(cfg, layers=layers or cfg.layers)
    config = {
        "model_type": "llama", "architectures": ["LlamaModel"], "vocab_size": cfg.vocab_size, "hidden_size": cfg.width,
        "intermediate_size": cfg.mlp_width, "num_hidden_layers": cfg.layers, "num_attention_heads": cfg.heads,
        "num_key_value_heads": cfg.kv_heads, "head_dim": cfg.head_dim, "rms_norm_eps": cfg.norm_eps,
        "rope_theta": cfg.rope_theta, "max_position_embeddings": cfg.max_positions, "hidden_act": "silu",
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    if path.exists() and json.loads(path.read_text()) == config and (folder / "model.safetensors.index.json").exists():
        return
    noise = np.random.default_rng(0).standard_normal(1 << 24, np.float32).astype(ml_dtypes.bfloat16)
    declared = declare(cfg)
    leaves = [declared["embed"], declared["final_norm"], *declared["layers"].values()]
    names = [(name, p.file_shape) for p in leaves for name in stored_names(p, p.hf)]
    weight_map, waiting, size, number = {}, {}, 0, 0

    def flush() -> None:
        nonlocal waiting, size, number
        number += 1
        file = f"model-{number:05d}.safetensors"
        save_file(waiting, folder / file)
        weight_map.update(dict.fromkeys(waiting, file))
        print(f"wrote {file}, {size / 2**30:.1f} GiB", file=sys.stderr, flush=True)
        waiting, size = {}, 0

    for i, (name, shape) in enumerate(names):
        count = math.prod(shape)
        waiting[name] = np.roll(np.resize(noise, count), i).reshape(shape)
        size += waiting[name].nbytes
        if size >= SHARD_BYTES:
            flush()
    if waiting:
        flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    path.write_text(json.dumps(config))


def _read(folder: Path) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from encore_jax.checkpoints.huggingface import load_backbone, load_config
    from encore_jax.checkpoints.safetensors import HuggingFaceFolder
    from encore_jax.model.params import declare
    from encore_jax.parallel.mesh import MeshSettings, make_mesh
    from encore_jax.progress import Pace, clock
    from encore_jax.train.sharded import param_shardings

    mesh = make_mesh(MeshSettings())
    shardings = param_shardings(load_config(folder), mesh)["backbone"]
    pace, shown = Pace(1, "import"), [0]

    def progress(done: int, total: int) -> None:
        pace(done / total, f"{done / 2**30:.1f} of {total / 2**30:.1f} GiB")
        if done * 10 // total > shown[0]:
            shown[0] = done * 10 // total
            print(f"{10 * shown[0]} %: {done / 2**30:.1f} of {total / 2**30:.1f} GiB", file=sys.stderr, flush=True)

    started = time.monotonic()
    cfg, params, _ = load_backbone(folder, jnp.bfloat16, shardings, progress=progress)
    jax.block_until_ready(params)
    seconds, peak = time.monotonic() - started, _peak_bytes()
    held, source = sum(x.nbytes for x in jax.tree.leaves(params)), HuggingFaceFolder(folder)
    equal = True
    for name in ("q", "o", "gate", "down", "attn_norm"):
        p, layer = declare(cfg)["layers"][name], cfg.layers // 2
        expected = p.from_file(source.read(p.hf.format(layer)))
        equal &= bool(np.array_equal(np.asarray(params["layers"][name][layer]), expected))
    shards = {tuple(s.data.shape) for s in params["layers"]["gate"].addressable_shards}
    result = {
        "parameters_gib": round(held / 2**30, 3),
        "peak_gib": round(peak / 2**30, 3),
        "ratio": round(peak / held, 4),
        "equal": equal,
        "devices": jax.device_count(),
        "gate_shard": [list(shape) for shape in shards],
        "time": clock(seconds),
    }
    print(json.dumps(result))


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    with one_line_errors():
        main()
