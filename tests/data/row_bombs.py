"""Small files that stand for very much.

    python -m tests.data.row_bombs make FOLDER
    python -m tests.data.row_bombs read FOLDER

The second reads each of them and prints what became of it, and the memory that this process has taken by then.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore_jax.data.rows import read_rows
from encore_jax.errors import InputError
from tests.peak_memory import peak_memory

MB = 1 << 20


def gzipped(folder: Path, name: str, block: bytes, times: int, before: bytes = b"", after: bytes = b"") -> Path:
    path = folder / f"{name}.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(before)
        for _ in range(times):
            file.write(block)
        file.write(after)
    return path


def table(folder: Path, name: str, columns: dict, **options) -> Path:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.table(columns), path, **({"compression": "zstd"} | options))
    return path


def text(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def long_list(values: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.array(np.zeros(values, np.int8)))


def make(folder: Path) -> None:
    """Writes all files."""
    row = b'{"prompt": "q", "chosen": "a", "rejected": "b"}\n'
    gzipped(folder, "a line of 100 MB", b"x" * MB, 100, b'{"a": "', b'"}\n')
    gzipped(folder, "40 MB of one row", row * (MB // len(row)), 40)
    gzipped(folder, "100 MB of blank lines", b"\n" * MB, 100)
    big = "x" * (8 * MB)
    table(folder, "a shared text", {"a": pa.DictionaryArray.from_arrays(pa.array([0] * 300), [big[:MB]])})
    chat = [{"role": "user", "content": big[: MB // 2]}]
    table(folder, "a shared text in messages", {"a": [chat] * 160})
    table(folder, "many texts of one page", {"a": pa.array(["x" * MB + str(i) for i in range(140)])})
    table(
        folder, "texts with one beginning", {"a": pa.array(["x" * MB + str(i) for i in range(90)])},
        use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    table(
        folder, "lists of texts with one beginning", {"a": pa.array([["x" * MB + str(i) for i in range(20)]] * 2)},
        use_dictionary=False, column_encoding={"a.list.element": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    table(folder, "a text of 130 MB", {"a": ["x" * (130 * MB)]})
    table(folder, "a list of 20,000,000 numbers", {"a": long_list(20_000_000)})
    table(folder, "a list of 4,000,000 numbers", {"a": long_list(4_000_000)})
    table(folder, "1,500,000 rows", {"a": pa.array(np.zeros(1_500_000, np.int8))})
    text(folder, "a line of 40 MB.jsonl", b'{"a": "' + b"x" * (40 * MB) + b'"}\n')
    text(folder, "lists.jsonl", b'{"a": [' + b"[]," * (4 * MB) + b"1]}\n")
    text(folder, "lists.json", b'[{"a": [' + b"[]," * (4 * MB) + b"1]}]")
    text(folder, "a text of 40 MB.json", b'[{"a": "' + b"x" * (40 * MB) + b'"}]')
    text(folder, "blank.jsonl", b"\n" * (30 * MB))
    text(folder, "deep.jsonl", b'{"a": ' + b"[" * 10**6 + b"]" * 10**6 + b"}\n")
    text(folder, "deep.json", b"[" * 10**6)
    text(folder, "keys.jsonl", b"{" + b",".join(b'"k%d": 1' % (i // 2) for i in range(400_000)) + b"}\n")


def read(folder: Path) -> None:
    """Reads them, one after the other."""
    for path in sorted(folder.iterdir()):
        started, rows, said = time.monotonic(), 0, ""
        try:
            for _ in read_rows(path):
                rows += 1
        except InputError as error:
            said = str(error)
        memory = peak_memory() >> 20
        seconds = time.monotonic() - started
        print(json.dumps({"name": path.name, "rows": rows, "said": said, "seconds": seconds, "MB": memory}), flush=True)


if __name__ == "__main__":
    {"make": make, "read": read}[sys.argv[1]](Path(sys.argv[2]))
