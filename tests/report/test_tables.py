"""Tables: nothing is lost in the CSV, and the terminal's text is plain where there is no terminal."""

import csv
import io
import json
import re

import pytest

from encore_jax.evaluation.first_line import first_line
from encore_jax.recipes.stages.report import report, show
from encore_jax.report.report_page import render_report
from encore_jax.report.summary import print_summary
from encore_jax.report.tables import COLUMNS, print_tables, rows, tables_csv
from tests.evaluation.hand_made import as_before_agreement, hand_made_results, hand_made_view

EVIL = "<script>alert('x')</script> --> \x1b[31m"


@pytest.fixture
def results():
    return hand_made_results()


def test_csv_reads_back(results):
    read = list(csv.DictReader(io.StringIO(tables_csv(results))))
    assert len(read) == len(list(rows(results))) == 3 * (10 + 10 * 2 + 2 + 2 + 3)
    assert tuple(read[0]) == COLUMNS
    by_key = {(r["table"], r["view"], r["name"], r["subset"] or r["second"]): r for r in read}
    assert len(by_key) == len(read)
    for view in results["views"]:
        for method in view["methods"]:
            row = by_key["method", view["name"], method["name"], ""]
            assert row["label"] == view["label"] and row["oracle"] == str(method["oracle"])
            for name in ("accuracy", "subset_mean", "minus_uniform"):
                got = [float(row[name + end]) for end in ("", "_low", "_high")]
                assert got == list(method[name].values())
            for name in ("n", "correct", "ties", "accuracy_ties_wrong", "draw_sd"):
                assert float(row[name]) == method[name]
            for name, value in (method["test"] or {}).items():
                assert float(row[name]) == value
            for subset, outcome in method["subsets"].items():
                row = by_key["subset", view["name"], method["name"], subset]
                assert float(row["accuracy"]) == outcome["accuracy"]["value"]
        for method in view["refused"]:
            row = by_key["method", view["name"], method["name"], ""]
            assert (row["refused"], row["accuracy"]) == (method["why"], "")
        for pair in view["pairs"]:
            row = by_key["pair", view["name"], pair["first"], pair["second"]]
            assert float(row["holm_p"]) == pair["holm_p"] and int(row["better"]) == pair["better"]
        for rule in view["rules"]:
            row = by_key["rule", view["name"], rule["name"], ""]
            assert (float(row["entropy"]), float(row["weight"])) == (rule["entropy"], rule["weight"])
            assert float(row["loading_low"]) == rule["loading"]["low"]
            assert (int(row["ratings"]), int(row["levels_used"]), int(row["n"])) == (rule["n"], rule["bins"], 43)
            assert float(row["r_without"]) == view["premise"]["leave_one_out"][rule["name"]]


def test_plain_text_off_a_terminal(results):
    results["views"][0] = hand_made_view(rules=(EVIL, "[bold]b[/bold] :smile:", "c"))
    stream = io.StringIO()
    print_tables(results, stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "[bold]b[/bold] :smile:" in text
    assert re.search(r"\| ENCORE +\| ratings +\| +65\.4 \[55\.4, 75\.4\]", text)
    assert "does not hold" in text and "semi-synthetic" in text
    assert "different> grids" in text


def test_the_first_line_says_which_weighting_to_use_and_a_refused_row_says_why(results):
    stream = io.StringIO()
    print_tables(results, stream)
    text = stream.getvalue()
    assert text.startswith("This model: use equal weights in heads. The pool <splits>.\n")
    assert re.search(r"\| agreement +\| scores +\| +refused, see below \|", text)
    assert "Refused: agreement, critical rules × loading: the pool <splits>.\n" in text


def test_results_of_an_older_version_are_shown(results):
    as_before_agreement(results)
    stream = io.StringIO()
    print_tables(results, stream)
    assert "of an older version: run it again" in stream.getvalue()
    assert "refused" not in stream.getvalue() and tables_csv(results)


def test_oracles_are_marked(results):
    stream = io.StringIO()
    print_tables(results, stream)
    assert stream.getvalue().count("best of all (oracle)") == 3


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_numbers(results, missing):
    for view in results["views"]:
        view["methods"][0]["accuracy"] = dict.fromkeys(("value", "low", "high"), missing)
        view["rules"][0]["entropy"] = missing
    stream = io.StringIO()
    print_tables(results, stream)
    assert stream.getvalue().count("n/a [n/a, n/a]") == 3
    assert tables_csv(results)


def test_stage_writes_and_publishes(results, tmp_path, capsys):
    folder = tmp_path / "report"
    folder.mkdir()
    report(results).save(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "results.json", "tables.csv"]
    assert json.loads((folder / "results.json").read_text()) == results
    show(folder)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(results)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    printed = capsys.readouterr().out
    assert "ENCORE" in printed and str(tmp_path / "report.html") in printed
    (tmp_path / "report.html").unlink()
    show(folder)
    assert (tmp_path / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert capsys.readouterr().out == printed


def test_the_terminal_shows_one_screen(results):
    stream = io.StringIO()
    print_summary(results, stream)
    text = stream.getvalue()
    assert text.startswith(first_line(results)) and len(text.splitlines()) <= 50
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == sum(view["name"] != "judges-heads" for view in results["views"])
    assert all(len(table.splitlines()) - 2 <= 8 for table in tables)
    for view in results["views"]:
        if view["name"] != "judges-heads":
            assert f"{view['name']} ({view['label']}): {view['comparisons']['test']} held-out comparisons" in text
            assert f"Premise of ENCORE: {view['premise']['verdict']}" in text
    assert "report/tables.csv" in text and "Reliability: " in text


def test_the_summary_takes_names_that_would_steer_a_terminal_and_results_of_before(results):
    results["views"][0] = hand_made_view(rules=(EVIL, "[bold]b[/bold] :smile:", "c"))
    stream = io.StringIO()
    print_summary(results, stream)
    assert "\x1b" not in stream.getvalue()
    as_before_agreement(results)
    print_summary(results, io.StringIO())
