"""Rows from Python: read as the equal file is read, with the same refusals and the same counts."""

import dataclasses
import datetime
import decimal
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.data import SkipCounter, iter_comparisons, iter_rated, plain_values, read_comparisons
from encore_jax.data.memory_rows import MemoryRows, is_table
from encore_jax.data.plain_values import plain_row
from encore_jax.errors import InputError
from encore_jax.rules import RulePool
from tests.data.readers.test_read_comparisons import FILES
from tests.data.readers.test_unknown_fields import rows_of


class Polars:
    """What of polars.DataFrame is used; polars itself is not installed here."""

    def __init__(self, table):
        self._table, self.columns = table, table.column_names

    def to_arrow(self):
        return self._table


class Capsule:
    """A table that speaks Arrow's C interface and nothing else."""

    def __init__(self, table):
        self._table, self.columns = table, table.column_names

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


class Dataset:
    """What of datasets.Dataset is used, with rows selected as `select` and `shuffle` do; not installed here."""

    features, column_names = {}, []

    def __init__(self, table, indices):
        self._table, self._indices = table, indices
        self.data = table  # all rows, which is not what the data set has

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def iter(self, batch_size):
        for start in range(0, len(self._indices), batch_size):
            yield self._table.take(self._indices[start : start + batch_size])

    def __iter__(self):
        raise AssertionError("this would decode images")


def table_of(rows):
    """As the Parquet files of hubs have them: rows whose values have the types of the first row's."""
    names = dict.fromkeys(name for row in rows for name in row if name not in ("extra", "ratings"))
    first = {name: next(type(row[name]) for row in rows if row.get(name) is not None) for name in names}
    rows = [r for r in rows if all(r.get(n) is None or type(r[n]) in (kind, int) for n, kind in first.items())]
    return pa.table({name: [row.get(name) for row in rows] for name in names})


PLACE, FILE = re.compile(r"[^ ]*rows\.jsonl:"), re.compile(r"[^ =]*rows\.jsonl")


def outcome(source, **options):
    """Records and counts, or the error; what rows are called is left out, as a file's name is in it."""
    skips = SkipCounter()
    try:
        records = [dataclasses.replace(r, id="") for r in read_comparisons(source, skips=skips, **options)]
    except InputError as error:
        return PLACE.sub("row ", error.problem), FILE.sub("FILE", error.fix), error.where.partition("field")[2]
    return records, skips.kept, skips.reasons, skips.unread, skips.notes


DAMAGES = {
    "as it is": lambda row: row,
    "an unknown field": lambda row: row | {"margin_": 0.5, "tools": [{"name": "f"}]},
    "a missing answer": lambda row: row | {name: None for name in ("chosen", "response_0", "response1") if name in row},
    "a number for text": lambda row: row | {"prompt": 3.5},
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "format"), FILES.items())
def test_rows_in_memory_are_read_as_the_equal_file(fixtures, pool, tmp_path, name, format, damage):
    options = {"pool": pool} if format == "encore" else {"format": format} if format == "rm_bench" else {}
    rows = rows_of(fixtures / name)
    rows = [*rows[:-1], DAMAGES[damage](rows[-1])]
    path = tmp_path / "rows.jsonl"
    if format == "rm_bench":
        rows = [row | {"domain": "chat"} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = outcome(path, **options)
    assert outcome(rows, **options) == expected
    assert outcome(iter(rows), **options) == expected
    frame = pd.DataFrame(rows)
    path.write_text("".join(json.dumps({n: row.get(n) for n in frame.columns}) + "\n" for row in rows))
    assert outcome(frame, **options) == outcome(path, **options)


@pytest.mark.parametrize("name", [n for n, f in FILES.items() if f not in ("rm_bench",)])
def test_tables_are_read_as_the_equal_parquet_file(fixtures, pool, tmp_path, name):
    table = table_of(rows_of(fixtures / name))
    pq.write_table(table, tmp_path / "rows.parquet")
    expected = outcome(tmp_path / "rows.parquet")
    assert expected[0]
    for source in (
        table,
        Polars(table),
        Capsule(table),
        table.to_batches()[0],
        pq.read_table(tmp_path / "rows.parquet"),
    ):
        assert outcome(source) == expected
    order = list(range(len(table)))[::-1]
    assert outcome(Dataset(table, order)) == outcome(table.take(order))
    frame = pd.read_parquet(tmp_path / "rows.parquet")  # lists are arrays, and nothing is None or NaN
    assert outcome(frame) == expected


ROW = {"prompt": "Hi", "chosen": "A", "rejected": "B"}


def test_missing_values_of_pandas_and_numpy_are_null():
    frame = pd.DataFrame({
        "prompt": pd.array(["Hi", "Ho"], dtype="string"), "chosen": ["A", "C"], "rejected": ["B", "D"],
        "id": pd.array([7, None], dtype="Int64"), "subset": pd.Categorical(["x", None]), "margin": [0.5, np.nan],
        "created": [pd.NaT, pd.Timestamp("2026-01-02")], "history": [None, np.array([["Hey", "Yo"]], object)],
    })  # fmt: skip
    (_, first), (_, second) = MemoryRows(frame)
    assert first == ROW | {"id": 7, "subset": "x", "margin": 0.5, "created": None, "history": None}
    assert second["created"] == "2026-01-02T00:00:00" and second["history"] == [["Hey", "Yo"]]
    assert second["id"] is second["subset"] is second["margin"] is None
    one, two = read_comparisons(frame)
    assert (one.id, two.id, one.subset, len(two.prompt)) == ("7", "row 2", "x", 3)


def test_a_frames_index_is_read_where_it_has_a_name():
    frame = pd.DataFrame([ROW, ROW | {"prompt": "Ho"}])
    assert [c.prompt[0].content for c in read_comparisons(frame.set_index("prompt"))] == ["Hi", "Ho"]
    by_id = frame.assign(id=["a", "b"], k=1).set_index(["id", "k"])
    assert [c.id for c in read_comparisons(by_id)] == ["a", "b"]
    assert [c.id for c in read_comparisons(frame[frame.prompt == "Ho"])] == ["row 1"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32(0.5), 0.5), (np.str_("x"), "x"), (np.bool_(True), True), (np.array(3), 3), (float("nan"), None),
     (np.datetime64("NaT"), None), (np.ma.masked, None), (pd.NA, None), (decimal.Decimal("4.5"), 4.5),
     (decimal.Decimal("nan"), None), (datetime.date(2026, 1, 2), "2026-01-02"), ((1, [np.int8(2)]), [1, [2]]),
     ({"a": np.array([1.0, np.nan])}, {"a": [1.0, None]}), (np.ma.array([1, 2], mask=[0, 1]), [1, None])],
)  # fmt: skip
def test_values_are_those_of_json(value, expected):
    found = plain_row({"x": value}, "row 1")["x"]
    assert found == expected and type(found) is type(expected)


LOOP = []
LOOP.extend([LOOP, LOOP])
BOMB = "x"
for _ in range(30):
    BOMB = [BOMB] * 10


@pytest.mark.parametrize(
    ("source", "problem"),
    [([ROW, ROW, 3], "^row 3: expected an object, found int"),
     ([ROW, ROW | {"chosen": {1, 2}}], "^row 2, field 'chosen': is of type set, which no file"),
     ([ROW | {"chosen": LOOP}], "^row 1, field 'chosen': nested more than 64 deep"),
     ([ROW | {"chosen": BOMB}], "^row 1, field 'chosen': more than 1,000 lists"),
     ([ROW | {"chosen": "x" * (17 << 20)}], "^row 1, field 'chosen': the row holds more than 16 MiB"),
     ([ROW | {"chosen": "\ud800"}], "^row 1, field 'chosen': half of a surrogate pair"),
     ([ROW | {3: "x"}], "^row 1: a field is called '3', which is of type int"),
     ([ROW, {"prompt": "Hi", "chosen": "A"}], "^row 2, field 'rejected': missing field"),
     ([], "^the list: there are no rows"), (None, "^the type NoneType holds no rows"), (7, "^the type int holds no"),
     (pd.DataFrame, "^the type DataFrame holds no rows"), (pd.Series([1]), "^the type Series holds no rows"),
     (np.zeros((2, 2)), "^the type ndarray holds no rows"), (ROW, "^got one dict, no list of rows"),
     (pd.DataFrame([[1, 2]]), "^the DataFrame: column 1 is called '0', which is of type int"),
     (pd.DataFrame([["a", "b"]], columns=["x", "x"]), "^the DataFrame: has two columns 'x'"),
     (pa.table([pa.array([1]), pa.array([1])], names=["x", "x"]), "^the table: has two columns 'x'"),
     (pd.DataFrame({"prompt": ["x"]}), "^the DataFrame: no format has these columns: prompt"),
     ({"train": pd.DataFrame([ROW])}, "several splits. Fix: pass one of train"),
     ([{"prompt": "Hi", "response": "A", "ratings": {}}], "^no comparisons but single rated responses"),
     (["a.jsonl", ROW], "^entry 2 is a dict, and others are paths"),
     (["a.jsonl", "a.jsonl"], "a.jsonl: is named twice")],
)  # fmt: skip
def test_what_is_no_row_is_refused_in_a_line(source, problem, monkeypatch):
    monkeypatch.setattr(plain_values, "MAX_PARTS", 1000)
    with pytest.raises(InputError, match=problem) as caught:
        list(read_comparisons(source))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_several_files_are_told_apart(fixtures, tmp_path, caplog):
    hh, pku = fixtures / "hh_rlhf/native.jsonl", fixtures / "pku_saferlhf/rows.jsonl"
    skips = SkipCounter()
    found = list(read_comparisons([hh, str(pku)], skips=skips, preference="better"))
    alone = [*read_comparisons(hh, skips=SkipCounter()), *read_comparisons(pku, preference="better")]
    assert [c.responses for c in found] == [c.responses for c in alone] and skips.kept == len(found)
    assert {c.source for c in found} == {"native.jsonl", "rows.jsonl"} == {c.subset for c in found}
    assert [c.extra["source"] for c in found] == [c.source for c in alone]
    assert skips.reasons and "native.jsonl" in str(skips)
    list(read_comparisons([hh, pku]))
    assert "native.jsonl: 6 rows: 2 kept, 4 skipped" in caplog.text  # each file's own count
    with pytest.raises(TypeError, match="no reader of these files takes 'scales'"):
        read_comparisons([hh, pku], scales=(0, 1))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text(json.dumps(ROW | {"subset": "own"}))
    found = list(read_comparisons((tmp_path / "a/rows.jsonl", tmp_path / "b/rows.jsonl")))
    assert [(c.source, c.subset) for c in found] == [("a/rows.jsonl", "own"), ("b/rows.jsonl", "own")]


def test_ratings_with_sentences_as_rules(fixtures):
    rows = [{"prompt": "Hi", "responses": ["A", "B"], "ratings": {"kind": [4, np.nan]}}]
    (found,) = read_comparisons(rows, pool=["It is kind.", "The response is true."], scale=(1, 5))
    assert found.rules == ("kind", "true") and found.mask.tolist() == [[True, False], [False, False]]
    assert list(iter_comparisons(rows, pool=RulePool.from_sentences(["It is kind."]), scale=(1, 5)))
    (rated,) = iter_rated([{"prompt": "Hi", "response": "A", "ratings": {"kind": 4}}], pool={"kind": "It is kind."},
                          scale=(1, 5))  # fmt: skip
    assert rated.ratings.tolist() == [4]


def test_tables_are_told_from_arrays():
    table = pa.table({"a": [1]})
    assert all(map(is_table, (pd.DataFrame({"a": [1]}), table, Polars(table), Dataset(table, [0]))))
    arrays = (np.zeros(2), [1], pd.Series([1]), pa.array([1]), pa.chunked_array([[1]]), pd.DataFrame, {"a": 1}, None)
    assert not any(map(is_table, arrays))


def test_lists_need_neither_pandas_nor_pyarrow():
    code = "import sys, encore_jax as enc; list(enc.read_comparisons([dict(prompt='a', chosen='b', rejected='c')])); "
    code += "print(sorted({'pandas', 'pyarrow', 'polars', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
