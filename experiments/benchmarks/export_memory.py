"""Peak host memory while a model goes from sharded device arrays into safetensors files.

    python -m experiments.benchmarks.export_memory [--architecture=llama-3.1-8b] [--layers=6] [--folder=/tmp/large]

Makes random bf16 parameters of that shape, with so many layers, on eight fake CPU devices (whose memory is host memory)
split over fsdp, exports them, and reads one layer back. Memory is the process's resident set: before the export, and at
its peak. The last line is one JSON object; `extra_gib` is what the export took on top of the model itself, and `ratio`
that over the model. Exit status 1 if it exceeds --limit, or a tensor differs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors

DEVICES = 8


def main() -> None:
    """Draws, exports, measures, judges."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="llama-3.1-8b")
    parser.add_argument("--layers", type=int, default=6, help="instead of the architecture's")
    parser.add_argument("--folder", default="/tmp/encore-export", type=Path)
    parser.add_argument("--limit", type=float, default=0.2)
    given = parser.parse_args()
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(DEVICES)}
    given.folder.mkdir(parents=True)
    try:
        result = _measure(given.architecture, given.layers, given.folder) | {"limit": given.limit}
    finally:
        shutil.rmtree(given.folder)
    print(json.dumps(result))
    sys.exit(0 if result["ratio"] <= given.limit and result["equal"] else 1)


def _measure(name: str, layers: int, folder: Path) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from encore_jax.checkpoints.safetensors import HuggingFaceFolder
    from encore_jax.checkpoints.safetensors_writer import stored_params, write_tensors
    from encore_jax.model.architectures import architecture
    from encore_jax.model.params import abstract, declare
    from encore_jax.parallel.mesh import MeshSettings, make_mesh
    from encore_jax.train.sharded import param_shardings

    cfg = dataclasses.replace(architecture(name), layers=layers)
    shardings = param_shardings(cfg, make_mesh(MeshSettings()))["backbone"]
    noise = np.random.default_rng(0).standard_normal(1 << 20, np.float32).astype(jnp.bfloat16)

    def draw(like, sharding):
        def shard(index):
            size = [len(range(*piece.indices(n))) for piece, n in zip(index, like.shape, strict=True)]
            return np.resize(noise, size)

        return jax.make_array_from_callback(like.shape, sharding, shard)

    params = jax.tree.map(draw, abstract(cfg, jnp.bfloat16), shardings)
    jax.block_until_ready(params)
    held = sum(x.nbytes for x in jax.tree.leaves(params))
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    shown = [0]

    def progress(done: int, total: int) -> None:
        if done * 10 // total > shown[0]:
            shown[0] = done * 10 // total
            print(f"{10 * shown[0]} %: {done / 2**30:.1f} of {total / 2**30:.1f} GiB", file=sys.stderr, flush=True)

    write_tensors(folder, stored_params(declare(cfg), params, jnp.bfloat16), progress=progress)
    extra = max(0, _memory("VmHWM") - before)
    source, equal = HuggingFaceFolder(folder), True
    for leaf in ("q", "o", "down", "attn_norm"):
        p = declare(cfg)["layers"][leaf]
        expected = p.to_file(np.asarray(params["layers"][leaf][layers - 1]))
        equal &= bool(np.array_equal(source.read(p.hf.format(layers - 1)), expected))
    return {
        "architecture": name,
        "layers": layers,
        "model_gib": round(held / 2**30, 3),
        "resident_before_gib": round(before / 2**30, 3),
        "extra_gib": round(extra / 2**30, 3),
        "ratio": round(extra / held, 4),
        "files": len(list(folder.glob("*.safetensors"))),
        "equal": equal,
    }


def _memory(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) * 1024


if __name__ == "__main__":
    with one_line_errors():
        main()
