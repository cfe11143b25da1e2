"""Tables of ratings as spreadsheets save them: encodings, names, workbooks; and rules on scales of their own."""

import gzip
import json

import numpy as np
import pytest

from encore_jax.data import read_comparisons
from encore_jax.data.rating_cells import parse_cell
from encore_jax.data.rating_source import read_rating_table
from encore_jax.data.scales import on_inferred_scales, scales_by_rule
from encore_jax.data.scored_rows import read_scored_rows
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

TABLE = "prompt,response,kind,true\r\nCafé – “ß”?,Voilà,5,1\r\nCafé – “ß”?,Non,1,4\r\n"
PLAIN = TABLE.replace("–", "-").replace("“", "").replace("”", "")
WAYS = {
    "cp1252.csv": TABLE.encode("cp1252"),
    "utf16.csv": TABLE.encode("utf-16-le"),
    "unicode.txt": TABLE.replace(",", "\t").encode("utf-16"),
    "sep.csv": ("sep=;\r\n" + TABLE.replace(",", ";")).encode("utf-8-sig"),
    "sep.tsv": ('"sep=|"\n' + TABLE.replace(",", "|")).encode(),
    "zipped.csv.gz": gzip.compress(TABLE.encode()),
    "mac.csv": TABLE.replace("\r\n", "\r").encode("cp1252"),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_table_reads_alike_however_a_spreadsheet_saves_it(tmp_path, name, caplog):
    (tmp_path / "table.csv").write_text(TABLE, encoding="utf-8", newline="")
    (tmp_path / name).write_bytes(WAYS[name])
    expected, found = (read_rating_table(tmp_path / file) for file in ("table.csv", name))
    assert found.notes == expected.notes and found.rules == expected.rules
    for one, other in zip(found.responses, expected.responses, strict=True):
        assert (one.prompt, one.response) == (other.prompt, other.response)
        np.testing.assert_array_equal(one.ratings, other.ratings)
    assert ("read as Windows-1252, as Excel saves a plain CSV. If 'Café'" in caplog.text) == (
        b"Caf\xe9" in WAYS[name][:50]
    )


FOREIGN = [("Привет мир", "cp1251"), ("こんにちは世界", "shift-jis"), ("你好世界", "gbk"), ("γειά σου κόσμε", "cp1253")]


@pytest.mark.parametrize(("text", "encoding"), FOREIGN)
def test_other_code_pages_are_refused_with_what_to_do(tmp_path, text, encoding):
    (tmp_path / "t.csv").write_bytes(f"prompt,response,kind\n{text},{text},5\n".encode(encoding))
    with pytest.raises(
        InputError, match="is not UTF-8 text.*Fix: save the table as CSV UTF-8 .*in Excel: File, Save As"
    ):
        read_rating_table(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.xlsx", "t.XLS", "t.ods", "t.csv", "t.tsv"])
def test_workbooks_are_refused_with_what_to_do(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04" + bytes(range(256)))
    readers = [
        read_rating_table,
        lambda path: read_scored_rows(path, "", None),
        lambda path: list(read_comparisons(path)),
    ]
    for read in readers:
        with pytest.raises(InputError, match="workbook.*Fix: save the sheet as CSV .in Excel"):
            read(path)


def table_of(**columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{"prompt": f"Q{i // 2}", "response": f"A{i}"} | row for i, row in enumerate(rows)]


GRADES, TENS, FLAGS, SHARES = [1, 5, 3, 4], [2, 9, 10, 4], [0, 1, 1, 0], [20, 100, 60, 75]


def test_rules_that_stay_far_below_others_are_on_their_own_scale():
    found = read_rating_table(table_of(kind=GRADES, harm=FLAGS, safe=SHARES))
    assert found.scale == (0, 1)
    told = "scale 1 to 5 (kind) and 0 to 1 (harm) and 0 to 100 (safe), inferred from the ratings: lowest 1, highest 5, "
    assert any(note.startswith(f"{told}4 different; lowest 0, highest 1, 2 different; ") for note in found.notes)
    expected = [[0, 0, 0.2], [1, 1, 1], [0.5, 1, 0.6], [0.75, 0, 0.75]]
    np.testing.assert_allclose([one.ratings for one in found.responses], expected, atol=1e-6)
    near = read_rating_table(table_of(kind=GRADES, true=TENS, same=[3] * 4))
    assert near.scale == (1, 10), "grades up to 5 may well be grades out of 10"
    given = read_rating_table(table_of(kind=GRADES, harm=FLAGS, safe=SHARES), scale=(0, 100))
    assert given.scale == (0, 100) and given.responses[1].ratings.tolist() == [5, 1, 100]


def test_scales_do_not_depend_on_the_order_of_rules():
    ranges = {"a": (1, 5), "b": (0, 1), "c": (0, 100), "d": (2, 7), "e": (0, 0), "f": (3, 3), "g": (80, 80)}
    expected = scales_by_rule(ranges)
    assert expected == {
        "a": (1, 7),
        "b": (0, 1),
        "c": (0, 100),
        "d": (1, 7),
        "e": (0, 100),
        "f": (0, 100),
        "g": (0, 100),
    }
    for seed in range(5):
        names = np.random.default_rng(seed).permutation(list(ranges)).tolist()
        assert scales_by_rule({name: ranges[name] for name in names}) == expected


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("several", [True, False])
def test_this_projects_format_has_the_scales_of_the_same_table(tmp_path, direction, several):
    """Numbers by rule name in JSON lines, and the same numbers in columns."""
    pool = RulePool([Rule("kind", "Kind."), Rule("safe", "Safe."), Rule("harm", "Harms.", direction=direction)])
    rows = (
        table_of(kind=GRADES, safe=SHARES, harm=FLAGS) if several else table_of(kind=GRADES, safe=GRADES, harm=GRADES)
    )
    pool.to_yaml(tmp_path / "pool.yaml")
    own = [{"prompt": row.pop("prompt"), "response": row.pop("response"), "ratings": row} for row in map(dict, rows)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    header = ",".join(rows[0])
    (tmp_path / "table.csv").write_text("\n".join([header, *(",".join(map(str, row.values())) for row in rows)]))
    found, expected = (read_scored_rows(tmp_path / name, "", None) for name in ("own.jsonl", "table.csv"))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


@pytest.mark.parametrize("rating", ["7/10", True, "yes", None])
def test_what_is_no_number_in_this_projects_format_is_said_by_its_place(tmp_path, rating):
    RulePool([Rule("kind", "Kind.")]).to_yaml(tmp_path / "pool.yaml")
    row = {"prompt": "Hi", "response": "A", "ratings": {"kind": rating}}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    if rating is None:
        assert np.isnan(read_scored_rows(tmp_path / "own.jsonl", "", None).values).all()
        return
    with pytest.raises(InputError, match="own.jsonl:1, field 'ratings.*expected a number or null"):
        read_scored_rows(tmp_path / "own.jsonl", "", None)


def test_several_scales_of_records_are_turned_one_by_one():
    pool = RulePool([Rule("kind", "Kind.", direction=-1), Rule("safe", "Safe.")])
    rows = [{"prompt": "Hi", "response": "A", "ratings": {"kind": 2, "safe": 40}},
            {"prompt": "Hi", "response": "B", "ratings": {"kind": 5, "safe": 100}},
            {"prompt": "Hi", "response": "C", "ratings": {"kind": None, "safe": 0}}]  # fmt: skip
    from encore_jax.data import iter_rated
    from encore_jax.data.memory_rows import row_source

    records, scale = on_inferred_scales(lambda by: iter_rated(row_source(rows), pool=pool, scale=by), rows, pool)
    np.testing.assert_allclose([one.ratings for one in records], [[0.75, 0.4], [0, 1], [0, 0]], atol=1e-6)
    assert scale == (0, 1)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (
            ["80 %", "0.8", "0.3", "20 %"],
            "row 2: rule 'kind': some ratings are out of 100, and others, as this one, are",
        ),
        (["4/5", "7/10", "", ""], "row 2: rule 'kind': this rating is out of 10, and others are out of 5"),
        (["yes", "no", "4", ""], "row 3: rule 'kind': this rating is 4, and others are out of 1"),
        (["3", "4", "yes", "2"], "row 3: rule 'kind': this rating is out of 1, and others are up to 4"),
        (["3", "4", "1", "80 %"], "row 4: rule 'kind': this rating is out of 100, and others are 1 to 4"),
        (["3/0", "4/5", "4/5", ""], "row 1, column 'kind': '3/0' is no rating"),
        (["good", "bad", "good", "bad"], "no column holds ratings.*'kind' holds 'good' at row 3.*write a number"),
    ],
)
def test_ratings_that_are_on_no_one_scale_are_refused_where_they_stand(cells, problem):
    with pytest.raises(InputError, match=problem):
        read_rating_table(table_of(kind=cells))


def test_more_ways_to_write_a_number_and_to_leave_it_out():
    assert [parse_cell(raw).value for raw in (".5", "5.", ",5", "-.5")] == [0.5, 5, 0.5, -0.5]
    assert [parse_cell(raw) for raw in ("#N/A", "n.a.", "--", "\u2014", ".", "<NA>", "Missing")] == [None] * 7


def test_blank_prompts_make_no_pairs_and_are_counted():
    rows = table_of(kind=GRADES)
    found = read_rating_table([row | {"prompt": " " if i < 2 else "Q"} for i, row in enumerate(rows)])
    assert len(found.responses) == 2 and found.notes[0] == "2 rows with a blank prompt skipped, first at row 1"
    assert found.lost["in rows with a blank prompt or response"] == 2


def test_long_tables_name_rules_in_any_case_and_keep_their_order():
    """Also where a rule's first rating is missing; one without any rating is said."""
    cells = [("Kind", ""), ("true", 4), ("none", ""), ("kind", 2), ("TRUE", 5)]
    rows = [
        {"prompt": "Q", "response": f"A{i // 3}", "rule": rule, "rating": cell} for i, (rule, cell) in enumerate(cells)
    ]
    found = read_rating_table(rows)
    assert found.rules == ("Kind", "true")
    assert "rules not read, because they have no rating: none" in found.notes
    assert "rules of one name but for capitals are one rule: kind, TRUE" in found.notes
    texts = read_rating_table([row | {"safe": "agree"} for row in table_of(kind=GRADES)])
    assert "columns not read: safe ('safe' holds 'agree' at row 4)" in texts.notes
    with pytest.raises(InputError, match="column 'rating' holds no rating"):
        read_rating_table([row | {"rating": ""} for row in rows])
