"""However a file is packed, damaged or made, reading it ends in rows or in one line, with bounded memory."""

import gzip
import json
import random
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.data import FORMATS, SkipCounter, read_comparisons, write_comparisons
from encore_jax.data import parquet_rows as parquet_rows_module
from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.lines import MAX_ROW, lines
from encore_jax.data.parquet_pages import column_notes, pages
from encore_jax.data.parquet_rows import parquet_rows
from encore_jax.data.rows import read_rows
from encore_jax.errors import InputError
from tests.data.readers.test_unknown_fields import LOADERS, outcome

ENDED = {"blank.jsonl": 0}
"""Files of `row_bombs` that hold nothing worse than many blank lines."""


def test_small_files_that_stand_for_very_much_end_in_one_line_within_a_gibibyte(tmp_path):
    """They are made in one process and read in another, whose memory counts."""
    for step in ("make", "read"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.data.row_bombs", step, str(tmp_path)],
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(list(tmp_path.iterdir())) >= 20
    for one in told:
        assert one["MB"] < 1024, one
        if one["name"] in ENDED:
            assert not one["said"]
            continue
        assert one["said"].startswith(str(tmp_path / one["name"])) and "Fix: " in one["said"], one
        assert len(one["said"]) < 600 and "\n" not in one["said"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json"])
def test_a_row_just_within_the_limit_is_read_and_one_beyond_is_not(tmp_path, suffix):
    def write(size):
        row = json.dumps({"a": "x" * (size - len('{"a": ""}'))}).encode()
        content = b"[" + row + b"]" if suffix == ".json" else b'{"a": "first"}\n' + row + b"\n"
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
        return path

    rows = [row for _, row in read_rows(write(MAX_ROW - 2))]
    assert len(rows[-1]["a"]) > MAX_ROW - 100
    with pytest.raises(InputError, match="longer than 16 MiB") as caught:
        list(read_rows(write(MAX_ROW + 2)))
    assert caught.value.where.endswith("row 1" if suffix == ".json" else ":2")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'{"a": 1}\n{"a": 2}', 2),
        (b'{"a": 1}\r{"a": 2}\r', 2),
        (b'{"a": 1}\r\n{"a": 2}\n\r\n{"a": 3}\n\r{"a": 4}', 4),
        (b'\xef\xbb\xbf{"a": 1}\n', 1),
        (b'\n\n  \n{"a": 1}\n \t \n', 1),
        ('{"a": "\u2028\x85\x1c"}\n{"a": 1}'.encode().replace(b"\x1c", b"\\u001c"), 2),  # no line ends of JSON
        (b"", 0),
    ],
)
def test_lines_end_in_all_usual_ways(tmp_path, content, rows):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert len(list(read_rows(path))) == rows
    for size in (1, 2, 3, 7):  # wherever a block ends, the lines are the same
        whole = list(lines(path))
        parts = [content[i : i + size] for i in range(0, len(content), size)]
        assert _lines_of(parts, path) == whole


def _lines_of(parts, path):
    from unittest import mock

    with mock.patch("encore_jax.data.lines.blocks", lambda file, where: iter(parts)):
        found = list(lines(path))
    return [(number, line.removeprefix(b"\xef\xbb\xbf")) for number, line in found]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16 text. Fix: save the file as UTF-8"),
        ('{"a": 1}\n'.encode("utf-32"), "UTF-32 text"),
        ('{"a": 1}\n'.encode("utf-16-le"), "null bytes: UTF-16 text|neither an array"),
        (b'{"a": 1}\n' + bytes(4096), "null bytes"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'{"a": ' + b"9" * 5000 + b"}", "broken JSON: Exceeds the limit"),
        (b'{"a": 1e999}', None),
        (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", "nested more than 64 deep"),
        (b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", None),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the same key twice: c"),
        (b'{"a": "\x01"}', "broken JSON: Invalid control character"),
        (b'{"a": 01}', "broken JSON"),
        (b"{'a': 1}", "broken JSON"),
        (b"\x1f\x8b\x08 no gzip", "not UTF-8|neither an array"),
    ],
)
def test_odd_texts_end_in_rows_or_in_one_line(tmp_path, suffix, content, said):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    if said is None:
        assert len(list(read_rows(path))) == 1
        return
    with pytest.raises(InputError, match=said) as caught:
        list(read_rows(path))
    assert caught.value.where.startswith(str(path)) and len(str(caught.value)) < 500


def test_arrays_are_read_across_blocks_of_any_size(tmp_path):
    rows = [{"i": i, "text": "ä{[]}," * (i % 50) + "\U0001f9fa" * (i % 3)} for i in range(300)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    from unittest import mock

    for size in (1 << 20, 1000, 37):
        with mock.patch("encore_jax.data.lines._BLOCK", size):
            assert [row for _, row in read_rows(path)] == rows
    assert [where for where, _ in read_rows(path)][:2] == [f"{path}, row 1", f"{path}, row 2"]


OPTIONS = {
    "snappy": {}, "zstd": {"compression": "zstd"}, "gzip": {"compression": "gzip", "row_group_size": 70},
    "pages of version 2": {"data_page_version": "2.0"}, "no dictionaries": {"use_dictionary": False},
    "checksums and an index": {"write_page_checksum": True, "write_page_index": True},
    "small pages": {"data_page_size": 64},
    "shared beginnings": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    "lengths apart": {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_parquet_files_of_every_kind_give_the_rows_that_pyarrow_gives(tmp_path, options):
    """And their pages hold the values that the file's own metadata promise."""
    rng = random.Random(0)
    texts = [f"{rng.choice(['same', 'other'])} {rng.choice(['', i])} ä" for i in range(500)]
    table = pa.table({
        "text": texts,
        "chat": [[{"role": "user", "content": text}] * (i % 3) for i, text in enumerate(texts)],
        "ratings": pa.array([[("rude", [0.5, None])]] * 500, pa.map_(pa.string(), pa.list_(pa.float64()))),
        "large": pa.array(texts, pa.large_string()),
        "bytes": pa.array([text.encode() for text in texts], pa.binary()),
        "null": pa.array([None if i % 7 else text for i, text in enumerate(texts)]),
        "word": pa.array(texts).dictionary_encode(),
        "number": list(range(500)),
        "when": pa.array([i * 10**6 for i in range(500)], pa.timestamp("us")),
    })  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, **OPTIONS[options])
    found = list(read_rows(path))
    assert [row for _, row in found] == pq.read_table(path).to_pylist()
    assert [where for where, _ in found] == [f"{path}, row {i}" for i in range(1, 501)]
    metadata = pq.read_metadata(path)
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            for i in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(i)
                start = min(filter(None, (chunk.data_page_offset, chunk.dictionary_page_offset)))
                values = [p.values for p in pages(file, start, chunk.total_compressed_size) if not p.is_dictionary]
                assert sum(values) == chunk.num_values


PIECES = [b"null", b"true", b"-1", b"1e999", b"[]", b"{}", b'""', b"[[[[", b'"\\ud800"', b"\0", b"\xff", b'"x"', b","]
"""What JSON minds, and what other values are made of."""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four small damages: cut, repeated, replaced by something else or by noise, turned."""
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        end = min(end, at + rng.choice([1, 4, 30, 300]))
        noise = bytes(rng.randrange(256) for _ in range(end - at))
        middle = [b"", rng.choice(PIECES), content[at:end] * 2, noise, content[at:end][::-1]][rng.randrange(5)]
        content = content[:at] + middle + content[end:]
    return content


@pytest.mark.parametrize("loader", LOADERS)
def test_damaged_rows_end_in_records_or_in_one_line(fixtures, pool, tmp_path, loader):
    """Sixty damages of every reader's file, half of them as Parquet."""
    name, read = LOADERS[loader]
    rng = random.Random(loader)
    source = (fixtures / name).read_bytes()
    rows = json.loads(source) if name.endswith(".json") else [json.loads(line) for line in source.splitlines()]
    rows = [row for row in rows if isinstance(row.get("prompt", ""), type(rows[0].get("prompt", "")))]
    table = {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}
    pq.write_table(pa.table(table), tmp_path / "whole.parquet")
    packed, started = (tmp_path / "whole.parquet").read_bytes(), time.monotonic()
    for i in range(60):
        path = tmp_path / (name.rpartition("/")[2] if i % 2 else "rows.parquet")
        path.write_bytes(mutated(source if i % 2 else packed, rng))
        _, _, error = outcome(read, path, pool)  # anything but an InputError fails the test
        assert "\n" not in error and len(error) < 2500
    assert time.monotonic() - started < 60


TYPES = [None, True, 0, -1, 1.5, 1e300, "", "x", [], ["x"], [None], [["x"]], {}, {"x": 1}, [{"role": "user"}], 10**300]
"""Values of every kind that JSON has."""


@pytest.mark.parametrize("loader", LOADERS)
def test_a_value_of_another_kind_ends_in_records_or_in_one_line(fixtures, pool, tmp_path, loader):
    """Every field of the first row, and every item of a list or an object in it, takes every kind of value."""
    name, read = LOADERS[loader]
    source = (fixtures / name).read_text(encoding="utf-8")
    is_array = name.endswith(".json")
    text = source if is_array else f"[{','.join(source.splitlines())}]"
    path = tmp_path / name.rpartition("/")[2]
    for place in _places(json.loads(text)[0], ()):
        for value in TYPES:
            rows = json.loads(text)
            _set(rows[0], place, value)
            path.write_text(json.dumps(rows) if is_array else "".join(json.dumps(row) + "\n" for row in rows))
            _, _, error = outcome(read, path, pool)
            assert "\n" not in error and len(error) < 2500


def _places(value, before):
    """Paths to all values inside, at most three deep."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:8]:
        yield (*before, key)
        if len(before) < 3:
            yield from _places(inner, (*before, key))


def _set(value, place, new):
    *outer, last = place
    for key in outer:
        value = value[key]
    value[last] = new


def test_what_json_cannot_hold_is_refused_when_written(tmp_path):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for extra in ({"x": "\ud800"}, {"\ud800": 1}, {"x": deep}):
        record = Comparison(parse_prompt("Hi"), ("a", "b"), extra=extra)
        with pytest.raises(InputError, match="holds what JSON cannot"):
            write_comparisons(tmp_path / "a.jsonl", [record])


def test_every_format_refuses_a_file_of_another_in_one_line(fixtures, tmp_path):
    for format in FORMATS:
        for name in ("ultrafeedback/rows.jsonl", "pairs/texts.jsonl", "encore/rated.jsonl"):
            if format == "pairs" and name.startswith("pairs"):
                continue
            with pytest.raises(InputError) as caught:
                list(read_comparisons(fixtures / name, format, skips=SkipCounter()))
            assert caught.value.where.startswith(str(fixtures / name)), (format, name)


def test_footers_that_would_end_the_process_inside_pyarrow_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [["x", "y"], ["z"]], "b": [1, 2]}), path)
    with path.open("rb") as file:
        ((texts, numbers),) = column_notes(file)
    assert (texts.is_encrypted, texts.counts_bytes, texts.repetition, texts.definition) == (False, True, 2, 4)
    assert not numbers.counts_bytes and numbers.repetition in (0, 1) and numbers.definition in (0, 2)
    assert len(list(parquet_rows(path))) == 2
    for wrong in (
        [texts._replace(repetition=3), numbers], [texts._replace(definition=1), numbers],
        [texts, numbers._replace(counts_bytes=True)], [texts._replace(is_encrypted=True), numbers], [texts],
    ):  # fmt: skip
        monkeypatch.setattr(parquet_rows_module, "column_notes", lambda file, wrong=wrong: [wrong])
        with pytest.raises(InputError, match="size statistics|encrypted|not a readable"):
            list(parquet_rows(path))
