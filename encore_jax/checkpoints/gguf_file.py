"""The GGUF container: metadata and tensors of one file.

The container is parsed here (a few structs; far quicker than building one array per vocabulary
entry, and able to say which tensor a truncated file ends in); the block formats are dequantised by
the ``gguf`` package.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from encore_jax.errors import InputError
from encore_jax.files import open_file

MAGIC = b"GGUF"
# What `llama-quantize` makes of a plain choice (Q2_K to Q8_0); rows that fill no block of 256 are Q5_0, Q5_1 or IQ4_NL.
SUPPORTED = (
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
)  # fmt: skip

# GGUF value type -> struct code; 8 is a string, 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies in the file, and how it is packed."""

    shape: tuple[int, ...]
    kind: str
    start: int
    size: int


@dataclass
class GGUFFile:
    """A GGUF file, mapped: its metadata, and its tensors dequantised when read.

    Attributes:
      path: the file.
      metadata: key -> value; strings are str, arrays are lists or NumPy arrays.
      tensors: name -> TensorInfo, in file order.

    Raises:
      InputError: not GGUF, another version, truncated or damaged, or a tensor of a type not read here.
    """

    path: Path
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    tensors: dict[str, TensorInfo] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.path = Path(self.path)
        self.where = str(self.path)
        with open_file(self.path) as file:
            if file.read(4) != MAGIC or file.seek(0, 2) < 24:
                raise InputError("this is not a GGUF file", where=self.where)
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _Header(self).read()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, slowest axis first as in Hugging Face checkpoints."""
        return {name: info.shape for name, info in self.tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor, dequantised to fp32 unless it is stored as floating point."""
        import gguf

        info = self.tensors[name]
        if not info.size:
            return np.zeros(info.shape, np.float32)
        raw = np.frombuffer(self._data, np.uint8, info.size, info.start)
        if info.kind in ("F32", "F16"):
            return raw.view("<f4" if info.kind == "F32" else "<f2").reshape(info.shape)
        kind = gguf.GGMLQuantizationType[info.kind]
        rows = raw.reshape(*info.shape[:-1], -1)
        with np.errstate(invalid="ignore", over="ignore"):  # a scale that is no number: its reader checks the weights
            return gguf.quants.dequantize(rows, kind).reshape(info.shape)

    @property
    def arch(self) -> str:
        """``general.architecture``, or ""."""
        found = self.metadata.get("general.architecture", "")
        return found if isinstance(found, str) else ""


class _Header:
    """One pass over the header, filling in a GGUFFile."""

    def __init__(self, file: GGUFFile):
        self.file, self.data, self.at, self.reading = file, file._data, 4, "the header"

    def damaged(self, problem: str) -> NoReturn:
        raise InputError(
            f"the file is damaged or truncated while reading {self.reading}: {problem}",
            where=self.file.where,
            fix="download it again",
        )

    def read(self) -> None:
        version, tensors, keys = self.take("<IQQ")
        if version not in (2, 3):
            raise InputError(f"GGUF version {version} is not supported", where=self.file.where,
                             fix="convert the model with a current llama.cpp")  # fmt: skip
        # Counts are taken from nobody's word: what is counted takes bytes of the file, which ends first.
        for _ in range(keys):
            self.reading = "the names of the metadata"
            key = self.name()
            self.reading = f"the value of {key!r}"
            if key in self.file.metadata:
                self.damaged("it is there twice")
            self.file.metadata[key] = self.value(*self.take("<I"))
        self.reading = "the tensor list"
        infos: dict[str, tuple] = {}
        for _ in range(tensors):
            name, info = self.tensor_info()
            if name in infos:
                self.damaged("it is there twice")
            infos[name] = info
        alignment = self.alignment()
        base = self.at + -self.at % alignment
        for name, (shape, kind, offset) in infos.items():
            if offset % alignment:
                self.reading = f"the entry of tensor {name!r}"
                self.damaged(f"offset {offset} is no multiple of the alignment {alignment}")
            self.file.tensors[name] = self.place(name, shape, kind, base + offset)
        self.check_overlap()

    def alignment(self) -> int:
        self.reading = "the value of 'general.alignment'"
        found = self.file.metadata.get("general.alignment", 32)
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= 2**20 or found & (found - 1):
            self.damaged("it is no power of two")
        return found

    def check_overlap(self) -> None:
        end, before = 0, ""
        for name, info in sorted(self.file.tensors.items(), key=lambda item: (item[1].start, item[1].size)):
            if info.size and info.start < end:
                raise InputError(f"it overlaps tensor {before!r}", where=f"{self.file.where}, tensor {name!r}",
                                 fix="download it again")  # fmt: skip
            if info.size:
                end, before = info.start + info.size, name

    def tensor_info(self):
        self.reading = "the names of the tensors"
        name = self.name()
        self.reading = f"the entry of tensor {name!r}"
        (dims,) = self.take("<I")
        if not 1 <= dims <= 4:
            self.damaged(f"{dims} dimensions")
        shape = self.take(f"<{dims}Q")[::-1]
        if math.prod(size or 1 for size in shape) >= 2**56:
            self.damaged(f"shape {shape} is too large")
        kind, offset = self.take("<IQ")
        return name, (tuple(shape), kind, offset)

    def place(self, name: str, shape, kind: int, start: int) -> TensorInfo:
        """Checks type and extent of one tensor."""
        import gguf

        where = f"{self.file.where}, tensor {name!r}"
        known = {int(gguf.GGMLQuantizationType[label]): label for label in SUPPORTED}
        if kind not in known:
            try:
                label = gguf.GGMLQuantizationType(kind).name
            except ValueError:
                label = f"number {kind}"
            raise InputError(f"type {label} is not read here", where=where,
                             fix=f"use a file quantised as one of {', '.join(SUPPORTED)}")  # fmt: skip
        block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        if shape[-1] % block:
            raise InputError(f"rows of {shape[-1]} do not fill blocks of {block}", where=where)
        size = math.prod(shape) // block * block_bytes
        if start + size > len(self.data):
            raise InputError(
                f"the file is truncated: the tensor ends at byte {start + size}, the file at "
                f"{len(self.data)}", where=where, fix="download it again",
            )  # fmt: skip
        return TensorInfo(shape, known[kind], start, size)

    def take(self, code: str) -> tuple:
        size = struct.calcsize(code)
        if self.at + size > len(self.data):
            self.damaged("it reaches past the end")
        values = struct.unpack_from(code, self.data, self.at)
        self.at += size
        return values

    def name(self) -> str:
        found = self.string(_LONGEST_NAME)
        if not found:
            self.damaged("an empty name")
        return found

    def string(self, longest: int | None = None) -> str:
        (length,) = self.take("<Q")
        end = self.at + length
        if end > len(self.data):
            self.damaged("a text reaches past the end")
        if longest is not None and length > longest:
            self.damaged(f"a name of {length} bytes")
        try:
            text = self.data[self.at : end].decode("utf-8")
        except UnicodeDecodeError:
            self.damaged("a text that is not UTF-8")
        self.at = end
        return text

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(*self.take("<IQ"))
        if kind not in _SCALARS:
            self.damaged(f"value type {kind} is unknown")
        return self.take("<" + _SCALARS[kind])[0]

    def array(self, item: int, length: int) -> Any:
        """A list of strings, or an array of numbers."""
        if item == _STRING:
            if length > (len(self.data) - self.at) // 8:  # every text has its length before it
                self.damaged("a list reaches past the end")
            return [self.string() for _ in range(length)]
        if item not in _SCALARS:
            self.damaged("a list of lists" if item == _ARRAY else f"value type {item} is unknown")
        code = _SCALARS[item]
        dtype = np.dtype("<" + code) if code != "?" else np.dtype(bool)
        if length > (len(self.data) - self.at) // dtype.itemsize:
            self.damaged("a list reaches past the end")
        numbers = np.frombuffer(self.data, dtype, length, self.at) if length else np.zeros(0, dtype)
        self.at += numbers.nbytes
        return numbers
