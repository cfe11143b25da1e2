"""The peak of a chip by what jax calls it, for the share of it that a program reaches.

Dense bf16 FLOP/s per device, from the makers' data sheets: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e) and
nvidia.com's of A100, H100 (SXM and PCIe), H200, B200 and L4.
"""

from __future__ import annotations

from encore_jax.parallel.slices import GENERATIONS

_TPUS = {
    "TPU v4": "v4", "TPU v5 lite": "v5e", "TPU v5e": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}  # fmt: skip
_GPUS = {"B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
"""By a word of the device's name; the first that it holds counts."""


def peak_flops(device_kind: str) -> float | None:
    """Of one device; None where no data sheet is known, as for CPUs.

    >>> peak_flops("TPU v5 lite"), peak_flops("NVIDIA H200"), peak_flops("cpu")
    (197000000000000.0, 989000000000000.0, None)
    """
    if device_kind in _TPUS:
        return GENERATIONS[_TPUS[device_kind]].peak_flops
    words = f" {device_kind} ".replace("-", " ")
    return next((peak for name, peak in _GPUS.items() if f" {name} " in words), None)
