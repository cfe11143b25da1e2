"""Damages Parquet: tables of other types under the same names, and the file's bytes."""

from __future__ import annotations

import datetime
import decimal
import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutate_bytes import mutate_bytes
from tests.fuzz.mutate_json import Raw, mutate_value

_COLUMNS: dict[str, Any] = {
    "null": lambda n: pa.nulls(n),
    "bool": lambda n: pa.array([True] * n),
    "int8": lambda n: pa.array([-1] * n, pa.int8()),
    "uint64": lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    "half": lambda n: pa.array([float("nan")] * n, pa.float32()).cast(pa.float16()),
    "nan": lambda n: pa.array([float("nan")] * n),
    "inf": lambda n: pa.array([float("inf")] * n),
    "text": lambda n: pa.array(["x"] * n),
    "large text": lambda n: pa.array(["x" * 1000] * n, pa.large_string()),
    "bytes": lambda n: pa.array([b"\xff\xfe"] * n, pa.binary()),
    "dictionary": lambda n: pa.array(["x"] * n).dictionary_encode(),
    "time": lambda n: pa.array([datetime.datetime(2024, 1, 1)] * n),
    "far time": lambda n: pa.array([2**62] * n, pa.timestamp("s")),
    "duration": lambda n: pa.array([2**62] * n, pa.duration("s")),
    "decimal": lambda n: pa.array([decimal.Decimal("1.5")] * n),
    "list": lambda n: pa.array([[1, None]] * n),
    "empty list": lambda n: pa.array([[]] * n, pa.list_(pa.string())),
    "texts": lambda n: pa.array([["a", "b"]] * n),
    "deep": lambda n: pa.array([[[[[["a"]]]]]] * n),
    "struct": lambda n: pa.array([{"role": "user", "content": "x"}] * n),
    "messages": lambda n: pa.array([[{"role": "user", "content": None}]] * n),
    "map": lambda n: pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
    "fixed": lambda n: pa.array([[1.0, 2.0]] * n, pa.list_(pa.float32(), 2)),
    "long": lambda n: pa.array(["y" * 3_000_000] * n),
    "many": lambda n: pa.array([["z"] * 100_000] * n),
}
_EXPANDED: list[bytes] = []


def mutate_parquet(content: bytes, rng: random.Random) -> bytes:
    """The table, its rows, how it is written, or anything."""
    kind = rng.random()
    if kind < 0.3:
        return mutate_bytes(content, rng)
    if kind < 0.32:
        return _bomb()
    table = pq.read_table(io.BytesIO(content))
    if kind < 0.6:
        table = _other_column(table, rng)
    elif kind < 0.9:
        table = _other_rows(table, rng)
    else:
        table = rng.choice([
            table.slice(0, 0), pa.table({}), table.rename_columns([f"{name}_" for name in table.column_names]),
            pa.table(list(table.columns) + list(table.columns[:1]), table.column_names + table.column_names[:1]),
            table.append_column("x" * 1000, pa.nulls(len(table))), pa.concat_tables([table] * 300),
        ])  # fmt: skip
    made = io.BytesIO()
    try:
        pq.write_table(table, made, compression=rng.choice(("none", "snappy", "gzip", "zstd", "brotli")),
                       data_page_version=rng.choice(("1.0", "2.0")), use_dictionary=rng.random() < 0.5)  # fmt: skip
    except (pa.ArrowException, ValueError):  # what Parquet cannot hold
        return content[:-4]
    return made.getvalue()


def _other_column(table: pa.Table, rng: random.Random) -> pa.Table:
    i = rng.randrange(table.num_columns)
    if rng.random() < 0.2:
        return table.remove_column(i)
    return table.set_column(i, table.column_names[i], _COLUMNS[rng.choice(list(_COLUMNS))](len(table)))


def _other_rows(table: pa.Table, rng: random.Random) -> pa.Table:
    rows = table.to_pylist()
    i = rng.randrange(len(rows))
    rows[i] = _plain(mutate_value(rows[i], rng))
    try:
        return pa.Table.from_pylist([row for row in rows if isinstance(row, dict)])
    except (pa.ArrowException, OverflowError, UnicodeError):  # values that no column holds together
        return _other_column(table, rng)


def _plain(value: Any) -> Any:
    if isinstance(value, Raw):
        return str(value)[:1000]
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _bomb() -> bytes:
    """A small file whose one text stands in very many rows."""
    if not _EXPANDED:
        made = io.BytesIO()
        prompts = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["p" * 500_000]))
        table = pa.table({"prompt": prompts, "chosen": prompts, "rejected": prompts})
        pq.write_table(table, made, compression="zstd", row_group_size=4000)
        _EXPANDED.append(made.getvalue())
    return _EXPANDED[0]
