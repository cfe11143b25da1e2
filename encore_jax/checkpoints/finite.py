"""Whether weights are numbers: a NaN or an infinite one spoils every score, and no later check can say where it was."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from encore_jax.errors import InputError

# A floating-point number is finite unless all bits of its exponent are set. Looking at these bits runs at the speed of
# memory for bfloat16 too, whose own `isfinite` is six times slower.
_EXPONENT = {
    np.dtype(np.float32): np.uint32(0x7F800000),
    np.dtype(np.float16): np.uint16(0x7C00),
    np.dtype(ml_dtypes.bfloat16): np.uint16(0x7F80),
}
_CHUNK = 2**18

LARGEST = float(np.finfo(np.float32).max)
"""Of fp32."""


def is_finite(array: np.ndarray) -> bool:
    """Whether no value is NaN or infinite.

    >>> is_finite(np.float32([1, -2])), is_finite(np.float16([1, np.nan])), is_finite(np.float64([-np.inf]))
    (True, False, False)
    """
    mask = _EXPONENT.get(array.dtype)
    if mask is None or not array.flags.c_contiguous:
        return bool(np.isfinite(array).all())
    bits, scratch = array.reshape(-1).view(mask.dtype), np.empty(min(_CHUNK, array.size), mask.dtype)
    for start in range(0, bits.size, _CHUNK):
        part = bits[start : start + _CHUNK]
        if np.bitwise_and(part, mask, out=scratch[: part.size]).max() == mask:
            return False
    return True


def check_weights(array: np.ndarray, where: str) -> None:
    """Makes sure that all weights of a tensor are finite.

    Raises:
      InputError: some are not; says how many.
    """
    if not is_finite(array):
        bad = int((~np.isfinite(array.astype(np.float32))).sum())
        raise InputError(
            f"{bad} of {array.size} values are NaN or infinite",
            where=where,
            fix="use weights that are sound: save or download them again",
        )
