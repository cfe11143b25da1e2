"""Files of rows: formats, error positions, and writing whole or not at all."""

import gzip
import json

import pytest

from encore_jax.data.atomic import atomic_path
from encore_jax.data.rows import located, read_rows, require, write_rows
from encore_jax.errors import InputError

ROWS = [{"a": "ä\u2028b", "n": 1}, {"a": "🫖", "n": None}]


def write(path, content: bytes):
    path.write_bytes(content)
    return path


def error_of(path):
    with pytest.raises(InputError) as caught:
        list(read_rows(path))
    return caught.value


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_round_trip(tmp_path, suffix):
    import pyarrow

    path = tmp_path / "deep" / f"rows{suffix}"
    count = write_rows(path, iter(ROWS), lambda: pyarrow.schema([("a", pyarrow.string()), ("n", pyarrow.int64())]))
    assert count == 2
    assert [row for _, row in read_rows(path)] == ROWS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_json_array_blank_lines_and_byte_order_mark(tmp_path):
    array = write(tmp_path / "a.json", json.dumps(ROWS).encode())
    assert list(read_rows(array)) == [(f"{array}, row 1", ROWS[0]), (f"{array}, row 2", ROWS[1])]
    lines = write(tmp_path / "b.jsonl", b'\xef\xbb\xbf{"n": 1}\r\n\r\n{"n": 2}')
    assert list(read_rows(lines)) == [(f"{lines}:1", {"n": 1}), (f"{lines}:3", {"n": 2})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": 1', "broken JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": NaN}', "NaN is not JSON; write null"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1, "a": 2}', "the same key twice: a"),
        (b"[1]", "expected an object, found list"),
        (b"[" * 100_000, "JSON"),
        (b"null", "expected an object, found NoneType"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, problem):
    path = write(tmp_path / "a.jsonl", b'{"a": 0}\n' + line + b"\n")
    error = error_of(path)
    assert error.where == f"{path}:2" and problem in error.problem


def test_rows_before_a_broken_line_are_streamed(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"a": 0}\noops\n')
    rows = read_rows(path)
    assert next(rows) == (f"{path}:1", {"a": 0})


def test_damaged_containers(tmp_path):
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % i for i in range(5000)))
    for content in (whole[: len(whole) // 2], b"plain text", whole[:-6] + b"123456"):
        error = error_of(write(tmp_path / "a.jsonl.gz", content))
        assert "gzip" in error.problem and error.fix
    assert "Parquet" in error_of(write(tmp_path / "a.parquet", b"PAR1 nonsense")).problem
    assert "array" in error_of(write(tmp_path / "a.json", b'{"rows":\n [{"a": 1}]}')).fix


def test_missing_files_folders_and_suffixes(tmp_path):
    assert "does not exist" in error_of(tmp_path / "none.jsonl").problem
    (tmp_path / "folder.jsonl").mkdir()
    assert "folder" in error_of(tmp_path / "folder.jsonl").problem
    assert ".jsonl.gz" in error_of(write(tmp_path / "a.csv", b"")).fix
    with pytest.raises(InputError, match="streamed"):
        write_rows(tmp_path / "a.json", ROWS, lambda: None)


def test_require_names_the_field_and_what_is_there():
    assert require({"a": None}, "a", object, "f:1") is None
    for row, problem in [({"b": 1, "c": 2}, "has b, c"), ({"a": 1}, "expected text, found int"), ({"a": None}, "null")]:
        with pytest.raises(InputError, match=problem) as caught:
            require(row, "a", str, "f:1")
        assert caught.value.where == "f:1, field 'a'"
    with pytest.raises(InputError, match="expected an integer, found bool"):
        require({"a": True}, "a", int, "f:1")


def test_located_adds_the_place_once():
    with pytest.raises(InputError) as caught, located("f:1"), located("f:1"):
        raise InputError("bad", where="a", fix="mend")
    assert str(caught.value) == "f:1, field 'a': bad. Fix: mend"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    write_rows(path, [{"a": 1}], lambda: None)

    def broken():
        yield {"a": 2}
        raise RuntimeError("the judge died")

    with pytest.raises(RuntimeError, match="judge"):
        write_rows(path, broken(), lambda: None)
    assert [row for _, row in read_rows(path)] == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_needs_the_file_to_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_equal_rows_give_equal_gzip_bytes(tmp_path):
    paths = [tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"]
    for path in paths:
        write_rows(path, ROWS, lambda: None)
    assert paths[0].read_bytes() == paths[1].read_bytes()
