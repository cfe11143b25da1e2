"""Tables of ratings: the same ratings, however they are written, are the same ratings."""

import csv
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.data import SkipCounter, read_comparisons
from encore_jax.data.rating_cells import Cell, infer_scale, parse_cell
from encore_jax.data.rating_source import read_rating_table
from encore_jax.data.rating_table import rating_table
from encore_jax.data.text_tables import read_text_table
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

RNG = np.random.default_rng(0)
N, RULES = 12, ("kind", "true", "harm")
POOL = RulePool([Rule("kind", "It is kind."), Rule("true", "It is true."), Rule("harm", "It harms.", direction=-1)])
GRADES = RNG.integers(1, 6, (N, 2, 3))
GRADES[0], GRADES[1] = 1, 5  # both ends of the scale
MISSING = RNG.random(GRADES.shape) < 0.2
MISSING[:2] = False
PREFERRED = RNG.integers(0, 2, N)
TEXTS = [[f'Answer {j} to {i}, with "quotes"; and, commas\nand lines' for j in range(2)] for i in range(N)]


def cell(i, j, k, write):
    return "" if MISSING[i, j, k] else write(int(GRADES[i, j, k]))


def long(write):
    yield ["prompt", "response", "rule", "rating"]
    for i in range(N):
        for j in range(2):
            for k, rule in enumerate(RULES):
                yield [f"Question {i}", TEXTS[i][j], rule, cell(i, j, k, write)]


def wide(write):
    yield ["prompt", "response", *RULES]
    for i in range(N):
        for j in range(2):
            yield [f"Question {i}", TEXTS[i][j], *(cell(i, j, k, write) for k in range(3))]


def pairs(write):
    sides = [f"{rule}_{side}" for rule in RULES for side in "ab"]
    yield ["prompt", "response_a", "response_b", "preferred", *sides]
    for i in range(N):
        ratings = [cell(i, j, k, write) for k in range(3) for j in range(2)]
        yield [f"Question {i}", *TEXTS[i], "ab"[PREFERRED[i]], *ratings]


def written(path, rows, delimiter=",", encoding="utf-8", ends="\r\n"):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ends).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def table(path, **options):
    return rating_table(read_text_table(path), where=path, **options)


def ratings_of(found):
    """[N, 2, K] on the scale from 0 to 1, and the mask."""
    records = found.comparisons or found.responses
    low, high = found.scale
    values, mask = (np.stack([getattr(r, name) for r in records]).reshape(N, 2, 3) for name in ("ratings", "mask"))
    return np.where(mask, (values - low) / (high - low), 0), mask


EXPECTED = np.where(MISSING, 0, (GRADES - 1) / 4)
ORIENTED = np.where(MISSING, 0, np.where([False, False, True], 1 - (GRADES - 1) / 4, (GRADES - 1) / 4))
SCALES = {
    "1 to 5": (str, (1, 5)),
    "decimals": (lambda x: f"{x}.0", (1, 5)),
    "decimal commas": (lambda x: f"{x},0", (1, 5)),
    "of 5": (lambda x: f"{x}/5", (1, 5)),
    "out of 5": (lambda x: f"{x} out of 5", (1, 5)),
    "1 to 10": (lambda x: f"{1 + 9 * (x - 1) / 4:g}", (1, 10)),
    "of 10": (lambda x: f"{1 + 9 * (x - 1) / 4:g} / 10", (1, 10)),
    "0 to 100": (lambda x: str(25 * (x - 1)), (0, 100)),
    "percent": (lambda x: f"{25 * (x - 1)} %", (0, 100)),
    "0 to 1": (lambda x: str((x - 1) / 4), (0, 1)),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", [long, wide, pairs])
def test_the_same_ratings_whatever_the_form_and_the_scale(tmp_path, form, scale):
    write, expected = SCALES[scale]
    path = written(tmp_path / "ratings.csv", form(write))
    for given in (None, expected):
        found = table(path, scale=given)
        assert found.rules == RULES and found.scale == expected
        told = "as given" if given else "inferred from the ratings"
        assert any(note.startswith(f"scale {expected[0]} to {expected[1]}, {told}") for note in found.notes)
        values, mask = ratings_of(found)
        np.testing.assert_allclose(values, EXPECTED, atol=1e-6)
        np.testing.assert_array_equal(mask, ~MISSING)
    values, _ = ratings_of(table(path, pool=POOL))
    np.testing.assert_allclose(values, ORIENTED, atol=1e-6)


def records(found):
    """Without what rows are called."""
    parts = [(c.prompt, c.responses, c.preferred) for c in found.comparisons]
    parts += [(r.prompt, r.response, r.extra) for r in found.responses]
    return parts, found.rules, found.scale, [note for note in found.notes if "columns not read" not in note]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", [long, wide, pairs])
def test_parquet_frames_and_tables_say_what_the_csv_says(tmp_path, form, scale):
    """As pandas reads the CSV: ratings are numbers where they look like it, and missing ones NaN."""
    path = written(tmp_path / "ratings.csv", form(SCALES[scale][0]))
    frame = pd.read_csv(path)
    frame.to_parquet(tmp_path / "pandas.parquet")
    texts = pd.read_csv(path, dtype=str, keep_default_na=False)
    pq.write_table(pa.Table.from_pandas(texts), tmp_path / "texts.parquet")
    frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    filtered = pd.concat([frame.iloc[:0], frame]).iloc[::-1].iloc[::-1].rename(index=lambda i: i + 7)
    filtered.to_parquet(tmp_path / "index.parquet")  # with a column __index_level_0__ of numbers
    expected = table(path)
    sources = [tmp_path / name for name in ("pandas.parquet", "texts.parquet", "rows.jsonl", "index.parquet")]
    sources += [frame, texts, pa.Table.from_pandas(frame), frame.to_dict("records"), filtered.reset_index(),
                filtered.rename_axis("id"), frame.rename_axis("Unnamed: 0").reset_index()]  # fmt: skip
    for source in sources:
        found = read_rating_table(source)
        assert records(found) == records(expected), source
        for got, wanted in zip(ratings_of(found), ratings_of(expected), strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert [c.id for c in (*found.comparisons, *found.responses)][0] == "row 1"
    names = read_rating_table(filtered.rename_axis("id"))
    assert [c.id for c in (*names.comparisons, *names.responses)][0] == "7"


FILES = {
    "BOM": {"encoding": "utf-8-sig"},
    "Excel's semicolons": {"delimiter": ";", "encoding": "utf-8-sig"},
    "Excel's Unicode text": {"delimiter": "\t", "encoding": "utf-16"},
    "tabs": {"delimiter": "\t"},
    "UTF-16 without a byte order mark": {"encoding": "utf-16-le"},
    "the other UTF-16": {"encoding": "utf-16-be"},
    "Windows-1252": {"encoding": "cp1252", "delimiter": ";"},
    "bars, Unix": {"delimiter": "|", "ends": "\n"},
}


@pytest.mark.parametrize("kind", FILES)
def test_files_as_programs_export_them(tmp_path, kind):
    found = table(written(tmp_path / "ratings.csv", wide(str), **FILES[kind]))
    values, mask = ratings_of(found)
    np.testing.assert_allclose(values, EXPECTED, atol=1e-6)
    np.testing.assert_array_equal(mask, ~MISSING)
    assert [r.response for r in found.responses] == [text for both in TEXTS for text in both]


def test_who_is_preferred(tmp_path):
    found = table(written(tmp_path / "t.csv", pairs(str)))
    assert [c.preferred for c in found.comparisons] == PREFERRED.tolist()
    chosen = "prompt,chosen,rejected,kind_chosen,kind_rejected\nHi,Yes.,No.,4,2\n"
    (tmp_path / "t.csv").write_text(chosen)
    (one,) = table(tmp_path / "t.csv").comparisons
    assert (one.preferred, one.responses, one.ratings[:, 0].tolist()) == (0, ("Yes.", "No."), [4, 2])
    for word, expected in {"response_b": 1, "B": 1, "0": 0, "1.0": 1, "tie": None, "": None}.items():
        (tmp_path / "t.csv").write_text(
            f"Question,Answer A,Answer B,Preference,kind A,kind B\nHi,Yes.,No.,{word},4,2\n"
        )
        assert table(tmp_path / "t.csv").comparisons[0].preferred == expected


def test_yes_and_no_beside_grades_are_each_on_their_scale(tmp_path):
    (tmp_path / "t.csv").write_text("prompt,response,kind,true,note\nHi,A,5,yes,fine\nHi,B,2,No,\nHi,C,1,n/a,x\n")
    found = table(tmp_path / "t.csv")
    assert found.rules == ("kind", "true") and found.scale == (0.0, 1.0)
    np.testing.assert_allclose([r.ratings for r in found.responses], [[1, 1], [0.25, 0], [0, 0]])
    assert found.responses[2].mask.tolist() == [True, False]
    assert "columns not read: note" in found.notes and "scale 1 to 5 (kind) and 0 to 1 (true)" in found.notes[-1]


def test_several_ratings_of_one_response_by_one_rule_are_averaged_and_counted(tmp_path):
    (tmp_path / "t.csv").write_text("prompt,response,rule,rating\nHi,A,kind,5\nHi,A,kind,2\nHi,B,kind,1\n")
    found = table(tmp_path / "t.csv")
    assert [r.ratings[0] for r in found.responses] == [3.5, 1]
    assert "1 ratings are means of several of one response by one rule" in found.notes


def test_a_column_that_is_called_like_a_rule_is_the_rules(tmp_path):
    (tmp_path / "t.csv").write_text("prompt,response,quality,score\nHi,A,5,4\nHi,B,1,2\n")
    pool = RulePool([Rule("quality", "Good."), Rule("score", "Better.")])
    assert table(tmp_path / "t.csv", pool=pool).responses[0].ratings.tolist() == [5, 4]
    free = table(tmp_path / "t.csv")
    assert free.rules == ("score",) and free.responses[0].extra == {"quality": 5.0}
    assert "column 'quality' says how good people find a response" in free.notes


BAD = {
    "empty": ("", "has no header"),
    "header only": ("prompt,response,kind\n", "has no rows"),
    "no prompt": ("a,response,kind\nHi,A,5\n", "has the columns a, response, kind.*name them prompt, response, rule"),
    "no ratings": ("prompt,response,note\nHi,A,fine\n", "no column holds ratings"),
    "two prompts": ("prompt,question,response,kind\nHi,Hi,A,5\n", "'prompt' and 'question' may both be the prompt"),
    "twice": ("prompt,response,kind,kind\nHi,A,5,4\n", "has two columns 'kind'"),
    "no name": ("prompt,response,,kind\nHi,A,5,4\n", "column 3 has no name"),
    "too many cells": ("prompt,response,kind\nHi,A,5,4\n", r"t.csv:2: has 4 cells, and the header 3.*put quotes"),
    "two ends of one": ("prompt,response,rule,rating\nHi,A,kind,7/10\nHi,A,kind,3/5\n", "t.csv:3: .*different numbers"),
    "odd cell": ("prompt,response,rule,rating\nHi,A,kind,five\n", r"t.csv:2, column 'rating': 'five' is no rating"),
    "no rule": ("prompt,response,rule,rating\nHi,A,,5\n", "t.csv:2, column 'rule': is empty"),
    "two ends": ("prompt,response,kind\nHi,A,7/10\nHi,B,3/5\n", "csv:3: rule 'kind': this rating is out of 5"),
    "beyond": ("prompt,response,kind\nHi,A,7/10\nHi,B,30\n", "csv:3: rule 'kind': this rating is 30"),
    "blank responses": ("prompt,response,kind\nHi, ,5\n", "not one usable row: all 1 are with a blank response"),
    "preferred": ("prompt,response_a,response_b,preferred,kind_a,kind_b\nHi,A,B,c,5,4\n",
                  "t.csv:2, column 'preferred': 'c' is none of the responses. Fix: write a, b, or nothing"),
    "quotes": ('prompt,response,kind\nHi,"A,5\n', "is no table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_refused_by_file_line_and_column(tmp_path, name):
    text, problem = BAD[name]
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        table(tmp_path / "t.csv")
    assert "\n" not in str(caught.value) and "t.csv" in str(caught.value) and caught.value.fix


def test_with_a_pool_and_a_scale_more_is_refused(tmp_path):
    path = written(tmp_path / "t.csv", wide(str))
    more = RulePool([*POOL, Rule("brief", "It is brief.")])
    with pytest.raises(InputError, match="has no column for brief"):
        table(path, pool=more)
    with pytest.raises(InputError, match=r"t.csv:\d+, rule 'kind': 5 is not on the scale from 0 to 4"):
        table(path, scale=(0, 4))
    (tmp_path / "t.csv").write_text("prompt,response,rule,rating\nHi,A,kynd,5\n")
    with pytest.raises(InputError, match="t.csv:2, column 'rule': .*kynd"):
        table(tmp_path / "t.csv", pool=POOL)
    (tmp_path / "t.csv").write_bytes(b"prompt,response,kind\nHi,\x81,5\n")
    with pytest.raises(InputError, match="is not UTF-8 text.*save the table as CSV UTF-8"):
        table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(5, (5, None)), (True, (1, 1)), ("FALSE", (0, 1)), (" 3 ", (3, None)), ("-1", (-1, None)), ("1e1", (10, None)),
     ("87.5%", (87.5, 100)), ("3/4", (3, 4)), ("N/A", None), (float("nan"), None), (None, None), ("?", None)],
)  # fmt: skip
def test_cells(raw, expected):
    assert parse_cell(raw) == (None if expected is None else Cell(*expected))


@pytest.mark.parametrize("raw", ["good", "1 2", "5 stars", "1/2/3", float("inf"), "1e999", [1], "five/10"])
def test_what_is_no_rating_is_refused(raw):
    with pytest.raises(InputError, match="is no"):
        parse_cell(raw)


@pytest.mark.parametrize(
    ("values", "scale"),
    [((0, 1), (0, 1)), ((1, 5), (1, 5)), ((0, 5), (0, 5)), ((2, 6), (1, 7)), ((8,), (1, 10)), ((0, 9), (0, 10)),
     ((40,), (0, 100)), ((-1, 1), (-1, 1)), ((200, 300), (200, 300)), ((), (0, 1)), ((-3,), (-3, 3)),
     ((-4,), (-4, -3))],
)  # fmt: skip
def test_the_narrowest_usual_scale(values, scale):
    assert infer_scale(map(Cell, values)) == scale


def test_rows_with_a_blank_response_are_skipped_and_counted(tmp_path):
    texts = {
        "wide": "prompt,response,kind\nHi,A,5\nHi, ,4\nHi,B,1\nHi,,2\n",
        "long": "prompt,response,rule,rating\nHi,A,kind,5\nHi, ,kind,4\nHi,B,kind,1\nHi,,kind,2\n",
        "pairs": "prompt,response_a,response_b,kind_a,kind_b\nHi,A,B,5,1\nHi, ,B,9,9\nHi,A,B,1,5\nHi,A,,9,9\n",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        skips = SkipCounter()
        found = read_rating_table(path, skips=skips)
        assert f"2 rows with a blank response skipped, first at {path}:3" in found.notes
        assert skips.reasons == {"with a blank response": 2} and len(found.comparisons or found.responses) == 2
        assert found.scale == (1, 5)  # of the rows that are read
        frame = pd.read_csv(path)
        assert "2 rows with a blank response skipped, first at row 2" in read_rating_table(frame).notes
        frame.to_parquet(tmp_path / "t.parquet")
        notes = read_rating_table(tmp_path / "t.parquet").notes
        assert f"2 rows with a blank response skipped, first at {tmp_path / 't.parquet'}, row 2" in notes


ODD = {
    "a list": ([{"prompt": "Hi", "response": ["A"], "kind": 5}], "^row 1, column 'response': expected text"),
    "huge": ([{"prompt": "Hi", "response": "A", "rule": "kind", "rating": 10**400}], "^row 1, column 'rating'.*finite"),
    "no rule": ([{"prompt": "Hi", "response": "A", "rule": None, "rating": 5}], "^row 1, column 'rule': is empty"),
    "of several": ([{"prompt": "Hi", "response": "A", "kind": 5}, {"prompt": "Hi", "kind": 5}], None),
    "prompts": ([{"prompt": [{"role": "user"}], "response": "A", "kind": 5}], "^row 1, prompt.0.: not a message"),
    "no table": ("t.dat", "t.dat: the file name does not tell its format. Fix: use .csv, .tsv, .txt"),
    "an array": (np.zeros((3, 2)), "^the type ndarray holds no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_table_in_memory_is_refused_by_row_and_column(name):
    source, problem = ODD[name]
    if problem is None:  # a row without a response
        assert "1 rows with a blank response skipped, first at row 2" in read_rating_table(source).notes
        return
    with pytest.raises(InputError, match=problem):
        read_rating_table(source)


def test_conversations_are_prompts(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    frame = pd.DataFrame({"prompt": [turns, turns], "response": ["A", "B"], "kind": [5, 1]})
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet"):
        assert [len(r.prompt) for r in read_rating_table(source).responses] == [2, 2]


def test_an_index_and_other_numbers_are_no_rules(tmp_path):
    """pandas writes an index without a name; lengths and seeds are numbers as well."""
    (tmp_path / "t.csv").write_text(",prompt,response,kind,Length,seed\n0,Hi,A,5,120,7\n1,Hi,B,1,80,7\n")
    found = table(tmp_path / "t.csv")
    assert found.rules == ("kind",) and found.scale == (1, 5) and "columns not read: index, Length, seed" in found.notes
    pool = RulePool([Rule("kind", "Kind."), Rule("length", "Long.")])
    assert table(tmp_path / "t.csv", pool=pool, scale=(0, 200)).responses[0].ratings.tolist() == [5, 120]


def test_rules_are_known_by_their_words(tmp_path):
    """Names of a pool are words with underscores; people's columns are not."""
    pool = RulePool([Rule("kind_tone", "Kind."), Rule("true", "True.")])
    (tmp_path / "wide.csv").write_text("Prompt,Response,Kind tone,TRUE\nHi,A,5,4\n")
    (tmp_path / "long.csv").write_text("prompt,response,rule,rating\nHi,A,Kind Tone,5\nHi,A,True,4\n")
    head = "prompt,chosen,rejected,Kind tone chosen,Kind tone rejected,true_chosen,true_rejected"
    (tmp_path / "pair.csv").write_text(f"{head}\nHi,A,B,5,1,4,1\n")
    for name in ("wide", "long", "pair"):
        found = table(tmp_path / f"{name}.csv", pool=pool, scale=(1, 5))
        records = found.comparisons or found.responses
        assert found.rules == ("kind_tone", "true") and np.ravel(records[0].ratings)[:2].tolist() == [5, 4]


def test_comparisons_are_read_from_tables_of_pairs(tmp_path, caplog):
    """CSV, DataFrames and Parquet files with two responses in a row, by the one entry that reads all comparisons."""
    path = written(tmp_path / "ratings.csv", pairs(str))
    frame = pd.read_csv(path)
    frame.to_parquet(tmp_path / "ratings.parquet")
    expected = table(path, pool=POOL).comparisons
    for source in (path, frame, tmp_path / "ratings.parquet"):
        skips = SkipCounter()
        found = list(read_comparisons(source, pool=POOL, skips=skips))
        assert [(c.responses, c.preferred) for c in found] == [(c.responses, c.preferred) for c in expected]
        np.testing.assert_array_equal([c.ratings for c in found], [c.ratings for c in expected])
        assert skips.kept == N and "scale 1 to 5, inferred from the ratings" in str(skips)
    assert next(iter(read_comparisons(frame))).rules == RULES
    assert {c.source for c in read_comparisons([path, tmp_path / "ratings.parquet"])} == {path.name, "ratings.parquet"}
    plain = tmp_path / "plain.csv"
    plain.write_text("prompt,chosen,rejected,model_chosen,model_rejected\nHi,A,B,x,y\nHi,A,,x,y\n")
    (one,) = read_comparisons(plain)
    assert (one.preferred, one.ratings) == (0, None)
    assert "2 rows: 1 kept, 1 skipped (1 with a blank response" in caplog.text and "model_rejected" in caplog.text
    single = written(tmp_path / "single.csv", wide(str))
    with pytest.raises(InputError, match="single.csv: has one response in a row. Fix: name two responses"):
        list(read_comparisons(single))
    with pytest.raises(InputError, match="^no comparisons but single rated responses"):
        read_comparisons(pd.read_csv(single))
    rows = [{"prompt": "Hi", "chosen": "A", "rejected": "B", "Kind chosen": 5, "Kind rejected": 2, "score_chosen": 1}]
    (rated,) = read_comparisons(rows, pool={"kind": "It is kind."})
    assert rated.ratings.tolist() == [[5], [2]] and next(iter(read_comparisons(rows))).ratings is None
