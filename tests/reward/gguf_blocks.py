"""One block of each of ggml's quantised formats, read one value at a time as ggml's reference does, in fp32.

Every function takes a block of bytes and returns its values; every product and difference is rounded as ggml does.
"""

from __future__ import annotations

import struct

import numpy as np

F = np.float32
LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the 16 codes of the IQ4 formats stand for."""


def half(block: bytes, at: int) -> np.float32:
    """The fp16 number at a byte."""
    return F(struct.unpack_from("<e", block, at)[0])


def nibble(codes: bytes, i: int) -> int:
    """Code i of 32 codes of 4 bits: the low halves of 16 bytes, then their high halves."""
    return codes[i] & 15 if i < 16 else codes[i - 16] >> 4


def q5_0(block: bytes) -> list:
    """22 bytes: fp16 scale, 32 high bits, 32 low nibbles."""
    d, (high,) = half(block, 0), struct.unpack_from("<I", block, 2)
    return [d * F((nibble(block[6:], i) | (high >> i & 1) << 4) - 16) for i in range(32)]


def q5_1(block: bytes) -> list:
    """24 bytes: fp16 scale and minimum, 32 high bits, 32 low nibbles."""
    d, m, (high,) = half(block, 0), half(block, 2), struct.unpack_from("<I", block, 4)
    return [d * F(nibble(block[8:], i) | (high >> i & 1) << 4) + m for i in range(32)]


def iq4_nl(block: bytes) -> list:
    """18 bytes: fp16 scale, 32 codes of 16 unequal levels."""
    d = half(block, 0)
    return [d * F(LEVELS[nibble(block[2:], i)]) for i in range(32)]


def iq4_xs(block: bytes) -> list:
    """136 bytes: fp16 scale, 8 scales of 6 bits, 256 codes of 16 unequal levels."""
    d, (high,) = half(block, 0), struct.unpack_from("<H", block, 2)
    values = []
    for j in range(8):
        scale = block[4 + j // 2] >> 4 * (j % 2) & 15 | (high >> 2 * j & 3) << 4
        step = d * F(scale - 32)
        values += [step * F(LEVELS[nibble(block[8 + 16 * j :], i)]) for i in range(32)]
    return values


def q2_k(block: bytes) -> list:
    """84 bytes: 16 scales and minima of 4 bits, 256 codes of 2 bits, fp16 scale and minimum of these."""
    codes, d, dmin = block[16:80], half(block, 80), half(block, 82)
    values = []
    for i in range(256):
        scale = block[i // 16]
        code = codes[32 * (i // 128) + i % 32] >> 2 * (i % 128 // 32) & 3
        values.append(d * F(scale & 15) * F(code) - dmin * F(scale >> 4))
    return values


def q3_k(block: bytes) -> list:
    """110 bytes: 256 high bits, 256 low codes of 2 bits, 16 scales of 6 bits, fp16 scale."""
    high, low, packed, d = block[:32], block[32:96], block[96:108], half(block, 108)
    values = []
    for i in range(256):
        j = i // 16
        scale = (packed[j] & 15 if j < 8 else packed[j - 8] >> 4) | (packed[8 + j % 4] >> 2 * (j // 4) & 3) << 4
        code = low[32 * (i // 128) + i % 32] >> 2 * (i % 128 // 32) & 3
        above = high[i % 32] >> i // 32 & 1
        values.append(d * F(scale - 32) * F(code - (0 if above else 4)))
    return values


def scale_and_minimum(packed: bytes, j: int) -> tuple[int, int]:
    """Scale and minimum j of 8, of 6 bits each, in 12 bytes."""
    if j < 4:
        return packed[j] & 63, packed[j + 4] & 63
    scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4
    return scale, (packed[j + 4] >> 4) | (packed[j] >> 6) << 4


def q4_k(block: bytes) -> list:
    """144 bytes: fp16 scale and minimum, 8 scales and minima of 6 bits, 256 nibbles."""
    d, dmin, codes, values = half(block, 0), half(block, 2), block[16:], []
    for i in range(256):
        j = i // 32
        scale, low = scale_and_minimum(block[4:16], j)
        code = codes[32 * (j // 2) + i % 32] >> 4 * (j % 2) & 15
        values.append(d * F(scale) * F(code) - dmin * F(low))
    return values


def q5_k(block: bytes) -> list:
    """176 bytes: as Q4_K, and 256 high bits before the nibbles."""
    d, dmin, high, codes, values = half(block, 0), half(block, 2), block[16:48], block[48:], []
    for i in range(256):
        j = i // 32
        scale, low = scale_and_minimum(block[4:16], j)
        code = codes[32 * (j // 2) + i % 32] >> 4 * (j % 2) & 15 | (high[i % 32] >> j & 1) << 4
        values.append(d * F(scale) * F(code) - dmin * F(low))
    return values


def q6_k(block: bytes) -> list:
    """210 bytes: 4 low bits, 2 high bits, 16 signed scales, fp16 scale."""
    low, high, scales = block[:128], block[128:192], struct.unpack("<16b", block[192:208])
    d, values = half(block, 208), []
    for i in range(256):
        part, within = divmod(i, 128)
        quarter, place = divmod(within, 32)
        code = low[part * 64 + place + 32 * (quarter % 2)] >> 4 * (quarter // 2) & 15
        above = high[part * 32 + place] >> 2 * quarter & 3
        values.append(d * F(scales[i // 16]) * F((code | above << 4) - 32))
    return values


FORMATS = {
    "Q5_0": (22, (0,), q5_0), "Q5_1": (24, (0, 2), q5_1), "IQ4_NL": (18, (0,), iq4_nl), "IQ4_XS": (136, (0,), iq4_xs),
    "Q2_K": (84, (80, 82), q2_k), "Q3_K": (110, (108,), q3_k), "Q4_K": (144, (0, 2), q4_k),
    "Q5_K": (176, (0, 2), q5_k), "Q6_K": (210, (208,), q6_k),
}  # fmt: skip
"""Format -> bytes of a block, where its fp16 numbers stand, its reading."""


def random_rows(kind: str, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    """Blocks of random bits with finite scales: uint8 ``[rows, blocks * bytes of a block]``."""
    size, halves, _ = FORMATS[kind]
    rng = np.random.RandomState(seed)
    raw = rng.randint(0, 256, (rows * blocks, size)).astype(np.uint8)
    for at in halves:
        raw[:, at : at + 2] = rng.uniform(-1, 1, (rows * blocks, 1)).astype("<f2").view(np.uint8)
    return raw.reshape(rows, blocks * size)
