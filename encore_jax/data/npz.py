"""Arrays from a ``.npz`` file that somebody else wrote: their sizes are checked before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from encore_jax.errors import InputError
from encore_jax.files import open_file

FREE = 256 << 20
"""Bytes that the arrays of any file may take."""
EXPANSION = 8
"""Beyond that, they may take so many times as much as the file."""
_FIX = "write the file again"


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of the file, by name.

    Raises:
      InputError: the file is missing or damaged; an array would hold Python objects; or the arrays take more than
        `FREE` bytes and more than `EXPANSION` times the file.
    """
    path = Path(path)
    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                total, most = sum(member.file_size for member in members), max(FREE, EXPANSION * path.stat().st_size)
                if total > most:
                    raise InputError(f"holds {total >> 20:,} MiB of arrays", where=str(path), fix=_FIX)
                return {member.filename.removesuffix(".npy"): _read(archive, member, path) for member in members}
        except InputError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy's header raise whatever they like
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"is no readable .npz file: {said}", where=str(path), fix=_FIX) from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array; its header must say as many bytes as there are."""
    where = f"{path}, array {member.filename[:80]!r}"
    with archive.open(member) as packed:
        version = np.lib.format.read_magic(packed)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise InputError(f"is of NumPy's format {version}", where=where, fix=_FIX)
        shape, by_columns, dtype = read_header[version](packed)
        if dtype.hasobject:
            raise InputError("holds Python objects, which are not read", where=where, fix=_FIX)
        data = packed.read(member.file_size)
    if any(size < 0 for size in shape) or len(data) != math.prod(shape) * dtype.itemsize:
        problem = f"{len(data):,} bytes for shape {str(shape)[:80]} of {str(dtype)[:40]}"
        raise InputError(problem, where=where, fix=_FIX)
    if dtype.itemsize == 0:  # texts without a character
        return np.zeros(shape, dtype)
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if by_columns else "C")
