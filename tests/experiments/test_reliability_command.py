"""The command on reliability: every kind of file, a page, and one line for what is wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import reliability
from encore_jax.errors import InputError
from encore_jax.evaluation.reliability import reliability as measure_in_python
from encore_jax.rules import Rule, RulePool
from tests.evaluation import views

RULES = ("safe", "honest", "kind", "coin")


def ratings(n=80, responses=2, seed=0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(n, responses, 1))
    raw = 3 + quality * [1.0, 1.0, 1.0, 0.0] + 0.7 * rng.normal(size=(n, responses, 4))
    return np.clip(np.round(raw), 1, 5), quality[..., 0].argmax(1)


def write_comparisons(folder, values, preferred, labelled=10**9):
    RulePool([Rule(name, f"It is {name}.") for name in RULES]).to_yaml(folder / "pool.yaml")
    lines = []
    for i, (rated, best) in enumerate(zip(values, preferred, strict=True)):
        row = {"prompt": f"Question {i}", "responses": [f"Answer {j} to {i}" for j in range(len(rated))]}
        row["ratings"] = {name: rated[:, k].tolist() for k, name in enumerate(RULES)}
        lines.append(json.dumps(row | {"preferred": None if best is None or i >= labelled else int(best)}) + "\n")
    (folder / "comparisons.jsonl").write_text("".join(lines))
    return str(folder / "comparisons.jsonl")


def run(*arguments):
    reliability.main(reliability.parse(["--draws=20", *arguments]))


def test_own_comparisons_with_few_labels_and_several_responses(tmp_path, capsys):
    values, preferred = ratings(responses=3)
    file = write_comparisons(tmp_path, values, preferred, labelled=12)
    run(file, "--scale=1,5", "--labels=5", f"--out={tmp_path}/page.html")
    printed = capsys.readouterr().out
    assert printed.startswith("Your ratings: use agreement weights.") and "| safe | 240 |" in printed
    rows = printed.split("response 2 |\n")[1].splitlines()[1:6]
    for row in rows:  # each by its file and line, with its texts
        _, name, prompt, *answers, _ = (cell.strip() for cell in row.split("|"))
        line = int(name.split("comparisons.jsonl:")[1])
        assert line > 12 and prompt == f"Question {line - 1}"
        assert answers == [f"Answer {j} to {line - 1}" for j in range(3)]
    assert 'comparisons.jsonl, as "preferred": the number of the better response, 0 for the first.' in printed
    page = (tmp_path / "page.html").read_text()
    assert "Your ratings: use agreement weights." in page and "three responses or more" in page
    assert "http" not in page.replace("http-equiv", "").replace("w3.org", "")[:500]
    with pytest.raises(InputError, match="overwrite"):
        run(write_ratings(tmp_path / "other.csv", 1 + values[:, 0] / 2), f"--out={tmp_path}/page.html")


def write_ratings(path, values):
    path.write_text("\n".join([",".join(RULES), *(",".join(f"{x:g}" for x in row) for row in values)]))
    return str(path)


def test_the_same_command_makes_its_page_again_and_no_other_page(tmp_path, capsys):
    values, _ = ratings()
    file, out = write_ratings(tmp_path / "r.csv", values[:, 0]), tmp_path / "page.html"
    run(file, f"--out={out}")
    before, first = out.read_bytes(), capsys.readouterr().out
    run(file, f"--out={out}")
    assert out.read_bytes() == before and capsys.readouterr().out == first
    run(file, f"--out={out}", "--tau=1")
    assert out.read_bytes() != before, "changed settings go on in the same file"
    moved = tmp_path / "moved.csv"
    moved.write_bytes((tmp_path / "r.csv").read_bytes())
    run(str(moved), f"--out={out}")
    write_ratings(tmp_path / "moved.csv", values[:, 1])
    run(str(moved), f"--out={out}")
    assert out.read_bytes() != before, "an edited file is the same input"
    for there in (before, b"<html>mine</html>"):  # of other ratings: r.csv, edited and moved; or somebody's own
        out.write_bytes(there)
        other = write_ratings(tmp_path / f"other {len(there)}.csv", values[:40, 0])
        with pytest.raises(InputError, match=r"page.html: is there already. Fix: .*--overwrite"):
            run(other, f"--out={out}")
        assert out.read_bytes() == there
    run(other, f"--out={out}", "--overwrite")


@pytest.mark.parametrize("kind", ["npz", "parquet", "jsonl"])
def test_a_page_says_of_the_inputs_that_were_read_and_of_no_other(tmp_path, kind, capsys):
    """Rules are read beside ratings, and not beside scores: a pool.yaml that comes or goes is none of theirs."""
    file, out, beside = tmp_path / f"file.{kind}", tmp_path / "page.html", tmp_path / "pool.yaml"
    if kind == "npz":
        views.view().save(file)
    elif kind == "parquet":
        write_scores(file, ratings()[0])
    else:
        file = Path(write_comparisons(tmp_path, *ratings()))
    pool = RulePool([Rule(name, f"It is {name}.") for name in RULES])
    pool.to_yaml(beside)
    run(str(file), f"--out={out}")
    record = re.search(r'"encore_jax-inputs" content="([^"]*)"', out.read_text())[1]
    names = [part.partition("=")[0] for part in record.split()]
    assert names == (["FILE", "--pool"] if kind == "jsonl" else ["FILE"])
    before = out.read_bytes()
    beside.unlink()
    if kind != "jsonl":
        run(str(file), f"--out={out}")
        assert out.read_bytes() == before


def test_scores_and_views_are_read_as_the_ablation_reads_them(tmp_path, capsys):
    values, preferred = ratings()
    rows = [
        {"preferred": int(best)} | {f"score:{name}": rated[:, k].tolist() for k, name in enumerate(RULES)}
        for rated, best in zip(values, preferred, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    run(str(tmp_path / "scores.parquet"))
    assert "| coin | 80 |" in capsys.readouterr().out
    view = views.view()
    view.save(tmp_path / "view.npz")
    run(str(tmp_path / "view.npz"))
    assert f"| {view.rules[0]} | {len(view.train)} |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.npz"], "there is no such file.*Fix: give view-NAME"),
        (["{file}", "--draws=1e9"], "--draws: invalid int value: '1e9'. Fix: write a whole number, --draws=NUMBER"),
        (["{file}", "--draws=1000000000"], "--draws: 1000000000 is out of range. Fix: a value from 20 to 100000"),
        (["{file}", "--scale=1,5", "--overwrite"], "--overwrite: has no effect without --out"),
        (["missing.jsonl"], "there is no such file.*Fix: give view-NAME"),
        (["{file}", "--scale=0,1"], "the ratings of this file lie between 1 and 5; .*|--scale=1,5"),
        (["{file}", "--scale=5,1"], r"--scale: '5,1' is no scale.*--scale=1,5"),
        (["{file}", "--scale=1"], "is no scale"),
        (
            ["{file}", "--scale=1,5", "--anchor=polite"],
            "^--anchor: there is no rule 'polite'.*safe, honest",
        ),
        (["{file}", "--scale=1,5", "--labels=0"], "--labels"),
        (["{file}", "--scale=1,5", "--tau=nan"], "--tau"),
        (["{file}", "--scale=1,5", "--out={file}"], "--out"),
        (["{file}", "--scale=1,5", "--pool=none.yaml"], "none.yaml"),
        (
            ["{folder}/pairs.jsonl"],
            "holds no ratings. Fix: have a judge rate it: encore rate .*pairs.jsonl --config.judge",
        ),
        (["{folder}/alone.jsnl"], r"no such file. Fix: did you mean .*/sub/alone.jsonl\?"),
        (["{folder}/nothing"], "no such file or folder. Fix: .*encore rate PAIRS"),
        (["{folder}/table.csv", "--scale=1,4"], "5 is not on the scale from 1 to 4; .* between 1 and 5"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, arguments, problem):
    file = write_comparisons(tmp_path, *ratings(n=30))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "alone.jsonl").write_bytes((tmp_path / "comparisons.jsonl").read_bytes())
    pair = {"prompt": "Hi", "responses": ["a", "b"], "preferred": 0}
    (tmp_path / "sub" / "pairs.jsonl").write_text(json.dumps(pair))
    (tmp_path / "sub" / "table.csv").write_text("prompt,response,rule,rating\nHi,a,kind,5\nHi,b,kind,1\n")
    with pytest.raises(InputError, match=problem) as caught:
        run(*(argument.format(file=file, folder=tmp_path / "sub") for argument in arguments))
    assert "\n" not in str(caught.value) and caught.value.fix


def test_rated_comparisons_need_no_pool_as_a_table_needs_none(tmp_path, caplog, capsys):
    file = write_comparisons(tmp_path, *ratings(n=30))
    (tmp_path / "pool.yaml").unlink()
    caplog.set_level("INFO")
    run(file)
    printed = capsys.readouterr().out
    assert all(f"| {rule} |" in printed for rule in RULES)
    assert "no pool says otherwise (--pool=RULES), so higher is better" in caplog.text


def write_scores(path, scores, **columns):
    """Scores ``[N, n, K]`` as the batch scorer's columns."""
    rules = {f"score:{name}": scores[:, :, k].tolist() for k, name in enumerate(RULES)}
    pq.write_table(pa.table({"preferred": pa.array([None] * len(scores), pa.int64())} | rules | columns), path)
    return str(path)


def test_scores_that_are_missing_are_counted_and_infinite_ones_refused(tmp_path, caplog):
    values = ratings()[0]
    values[6, 1, 2] = values[9, 0, 0] = np.nan
    with caplog.at_level("INFO"):
        run(write_scores(tmp_path / "s.parquet", values))
    assert "of 640 scores 2 are NaN, the first in column 'score:kind', row 7; these count as missing" in caplog.text
    assert "has no column prompt: each of 80 rows counts as a prompt of its own" in caplog.text
    values[11, 0, 3] = -np.inf
    with pytest.raises(InputError, match=r"column 'score:coin', row 12: a score is -inf \(1 such\). Fix: score it"):
        run(write_scores(tmp_path / "s.parquet", values))


@pytest.mark.parametrize("prompt", [[f"q{i // 2}" for i in range(80)], [i // 2 for i in range(80)],
                                    [[{"role": "user", "content": f"q{i // 2}"}] for i in range(80)]])  # fmt: skip
def test_rows_of_one_prompt_are_grouped_where_the_file_says_so(tmp_path, prompt, caplog):
    file = write_scores(tmp_path / "s.parquet", ratings()[0], prompt=prompt)
    with caplog.at_level("INFO"):
        found = reliability.measure(reliability.parse([file, "--draws=20"]), (0.0, 1.0))
    assert found.prompts == 40 and "80 rows of 40 prompts" in caplog.text
    with pytest.raises(InputError, match="row 3: has no prompt. Fix: give every row its prompt"):
        run(write_scores(tmp_path / "s.parquet", ratings()[0], prompt=[*prompt[:2], None, *prompt[3:]]))


@pytest.mark.parametrize("flag", ["--scale=1,5", "--pool=safety_10"])
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_flags_of_ratings_are_refused_where_the_file_holds_scores(tmp_path, flag, kind):
    if kind == "npz":
        views.view().save(tmp_path / "file.npz")
    else:
        write_scores(tmp_path / "file.parquet", ratings()[0])
    with pytest.raises(InputError, match=f"^{flag.partition('=')[0]}: has no effect where FILE holds scores"):
        run(str(tmp_path / f"file.{kind}"), flag)


@pytest.mark.parametrize("offset", [2e7, -1e9, 2.0**40])
def test_an_offset_of_the_scores_changes_nothing(tmp_path, offset):
    plain, shifted = (
        reliability.measure(
            reliability.parse([write_scores(tmp_path / "s.parquet", ratings()[0] + by), "--draws=20"]), (0.0, 1.0)
        )
        for by in (0, offset)
    )
    assert [line.tie_rate for line in shifted.rules] == [line.tie_rate for line in plain.rules]
    np.testing.assert_allclose(shifted.common.loading, plain.common.loading, atol=2e-5)


def write_responses(path, values, prompts, quality=None):
    RulePool([Rule(name, f"It is {name}.") for name in RULES]).to_yaml(path.with_name("pool.yaml"))
    lines = []
    for i, (rated, prompt) in enumerate(zip(values, prompts, strict=True)):
        row = {"prompt": prompt, "response": f"Answer {i}", "ratings": dict(zip(RULES, rated.tolist(), strict=True))}
        told = {} if quality is None or quality[i] is None else {"extra": {"quality": quality[i]}}
        lines.append(json.dumps(row | told) + "\n")
    path.write_text("".join(lines))
    return str(path)


def measured(*arguments):
    return reliability.measure(reliability.parse([*arguments, "--draws=20"]), (1.0, 5.0))


def test_rated_responses_of_one_prompt_are_compared_in_whatever_order(tmp_path, caplog):
    values, preferred = ratings(responses=3)
    flat, prompts = values.reshape(-1, 4), np.repeat([f"Question {i}" for i in range(80)], 3)
    good = (np.arange(3) == preferred[:, None]).ravel().astype(int).tolist()
    order = np.random.default_rng(0).permutation(240)
    file = write_responses(tmp_path / "r.jsonl", flat[order], prompts[order], [good[i] for i in order])
    with caplog.at_level("INFO"):
        found = measured(file)
    expected = measured(write_comparisons(tmp_path, values, preferred))
    assert "240 responses of 80 prompts: responses of one prompt are compared with each other" in caplog.text
    assert not found.single and found.prompts == 80
    np.testing.assert_allclose(found.common.loading, expected.common.loading, atol=1e-5)
    assert [line.half for line in found.rules] == [line.half for line in expected.rules]


def test_responses_that_are_alone_are_rated_as_they_are(tmp_path, capsys, caplog):
    values, _ = ratings()
    flat, prompts = values[:, 0], [f"Question {i}" for i in range(80)]
    good = [float(x) if i % 2 else None for i, x in enumerate(flat[:, :3].sum(1))]
    found = measured(write_responses(tmp_path / "r.jsonl", flat, prompts, good))
    assert found.single and found.rules[0].labels > 0 and found.common.verdict == "one common factor"
    run(write_responses(tmp_path / "r.jsonl", flat, prompts), "--scale=1,5")
    assert "ratings of single responses" in capsys.readouterr().out
    some = write_responses(tmp_path / "r.jsonl", np.concatenate([values.reshape(-1, 4), flat]),
                           [*np.repeat(prompts, 2), *(f"alone {i}" for i in range(80))])  # fmt: skip
    with caplog.at_level("INFO"):
        found = measured(some)
    assert "80 that are alone with their prompt are not" in caplog.text and found.rules[0].n == 80


def test_odd_qualities_are_refused(tmp_path):
    values, _ = ratings(n=30)
    file = write_responses(tmp_path / "r.jsonl", values[:, 0], [f"q{i}" for i in range(30)], ["good"] + [1] * 29)
    with pytest.raises(InputError, match=r"response .*: extra.quality is 'good'. Fix: write a number"):
        measured(file)


@pytest.mark.parametrize("form", ["long", "wide", "pairs"])
def test_a_csv_says_what_the_same_comparisons_say(tmp_path, form, capsys):
    values, preferred = ratings()
    expected = measured(write_comparisons(tmp_path, values, preferred if form == "pairs" else [None] * 80))
    rows = {
        "long": [["prompt", "response", "rule", "rating"]] + [
            [f"Question {i}", f"Answer {j}", rule, f"{values[i, j, k]:g}"]
            for i in range(80) for j in range(2) for k, rule in enumerate(RULES)
        ],
        "wide": [["prompt", "response", *RULES]] + [
            [f"Question {i}", f"Answer {j}", *map(str, values[i, j])] for i in range(80) for j in range(2)
        ],
        "pairs": [["prompt", "response_a", "response_b", "preferred", *(f"{r}_{s}" for r in RULES for s in "ab")]] + [
            [f"Question {i}", "A", "B", "ab"[preferred[i]], *map(str, values[i].T.ravel())] for i in range(80)
        ],
    }[form]  # fmt: skip
    (tmp_path / "own").mkdir()
    file = tmp_path / "own" / "ratings.csv"
    file.write_text("\n".join(";".join(row) for row in rows), encoding="utf-8-sig")
    found = reliability.measure(reliability.parse([str(file), "--draws=20"]))
    np.testing.assert_allclose(found.common.loading, expected.common.loading, atol=1e-5)
    assert [line.entropy for line in found.rules] == pytest.approx([line.entropy for line in expected.rules])
    assert [line.labels for line in found.rules] == [line.labels for line in expected.rules]
    run(str(file))
    assert capsys.readouterr().out.startswith("Your ratings: use ")


@pytest.mark.parametrize("scale", [[], ["--scale=1,5"]])
def test_a_table_of_nothing_but_ratings_says_what_python_says(tmp_path, scale, capsys):
    values, _ = ratings()
    rows = [",".join(RULES), *(",".join(f"{x:g}" for x in row) for row in values[:, 0])]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    run(str(tmp_path / "t.csv"), *scale)
    printed = capsys.readouterr().out
    first, rest = str(measure_in_python(str(tmp_path / "t.csv"), draws=20)).split("\n", 1)
    assert (
        printed.startswith(f"Your ratings: u{first[1:]} To train a model on these ratings, write the texts beside them")
        and rest in printed
        and "Ratings: 320 of 80" in printed
    )
    with pytest.raises(InputError, match="t.csv:.*rule 'safe'.*is not on the scale from 0 to 1"):
        run(str(tmp_path / "t.csv"), "--scale=0,1")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rules_are_said_of_the_file(tmp_path, count):
    (tmp_path / "t.csv").write_text(
        "prompt,response,kind,true\nQ,A,5,1\nQ,B,2,4\n".replace(",true", ",true" * (count > 1))
    )
    if count == 1:
        (tmp_path / "t.csv").write_text("prompt,response,kind\nQ,A,5\nQ,B,2\n")
    with pytest.raises(InputError, match=rf"^\S*t.csv: got {count} rule.* Fix: add rules"):
        run(str(tmp_path / "t.csv"))


def test_a_response_that_is_rated_again_is_one_response(tmp_path, caplog):
    """Its ratings are averaged: a text compared with itself says nothing."""
    values, _ = ratings()
    flat, prompts = values.reshape(-1, 4), np.repeat([f"Question {i}" for i in range(80)], 2)
    rows = [[p, f"A {i % 2}", *map(str, r)] for i, (p, r) in enumerate(zip(prompts, flat, strict=True))]
    twice = [[*row[:2], *map(str, 6 - flat[i])] for i, row in enumerate(rows) if i >= 120]
    for name, part in (("once.csv", rows[:120]), ("twice.csv", rows + twice)):
        lines = [["prompt", "response", *RULES], *part]
        (tmp_path / name).write_text("\n".join(map(",".join, lines)))
    with caplog.at_level("INFO"):
        found = measured(str(tmp_path / "twice.csv"))
    assert "40 rows rate a response again; its ratings are averaged" in caplog.text
    assert found.prompts == 80 and all(line.n == 80 for line in found.rules)
    once = measured(str(tmp_path / "once.csv"))
    for line, other in zip(found.rules, once.rules, strict=True):  # the last 20 pairs tie at the middle of the scale
        assert line.tie_rate == pytest.approx((60 * other.tie_rate + 20) / 80)


# Where all ratings of a file are


def ugly(form):
    """Rows of 300 prompts with all that people's tables have; and how many ratings they hold."""
    rng = np.random.default_rng(0)
    rules, rows = ("kind", "true", "safe", "brief"), []
    for i in range(300):
        for j in range(1 if i % 7 == 0 else 2):
            text = " " if i % 11 == 0 and j == 0 else f"Answer {j} to {i}"
            cells = ["" if rng.random() < 0.1 else str(rng.integers(1, 6)) for _ in rules]
            rows += [[f"Question {i}", text, *cells]] * (2 if i % 13 == 0 else 1)
    given = sum(cell != "" for row in rows for cell in row[2:])
    if form == "long":
        rows = [[*row[:2], rule, cell] for row in rows for rule, cell in zip(rules, row[2:], strict=True)]
        return ["prompt", "response", "rule", "rating"], rows, given
    return ["prompt", "response", *rules], rows, given


@pytest.mark.parametrize("form", ["long", "wide", "native"])
def test_every_rating_is_counted_as_compared_or_by_the_reason_why_not(tmp_path, form, capsys):
    header, rows, given = ugly(form)
    path = tmp_path / ("ratings.jsonl" if form == "native" else "ratings.csv")
    if form == "native":
        rows = [row for row in rows if row[1].strip()]
        given = sum(cell != "" for row in rows for cell in row[2:])
        rated = []
        for prompt, response, *cells in rows:
            values = {name: float(cell) if cell else None for name, cell in zip(header[2:], cells, strict=True)}
            rated.append({"prompt": prompt, "response": response, "ratings": values})
        path.write_text("".join(json.dumps(row) + "\n" for row in rated))
        RulePool(tuple(Rule(name, name) for name in header[2:])).to_yaml(tmp_path / "pool.yaml")
    else:
        path.write_text("\n".join(",".join(row) for row in (header, *rows)))
    run(str(path))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Ratings: ")]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"(?<![\w])[\d,]*\d(?= (?!comp|rules))", line)]
    total, compared, others, *reasons = numbers
    assert total == given and compared + others == given and sum(reasons) == others and len(reasons) >= 3, line
    assert "other reasons" not in line
    expected = set() if form == "native" else {"rows with a blank prompt or response"}
    for words in expected | {"averaged with another", "alone with their prompt", "rates no other response"}:
        assert words in line


def test_a_column_of_ratings_with_one_wrong_cell_is_refused_and_not_passed_over(tmp_path):
    rows = [f"Q{i},A{j},{1 + (i + j) % 5},{1 + i % 5},{1 + j},x{i}" for i in range(20) for j in range(2)]
    rows[7] = "Q3,A1,good,4,2,x3"
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["prompt,response,kind,true,safe,comment", *rows]))
    with pytest.raises(InputError, match=r"ratings.csv:9, column 'kind': 'good' is no rating"):
        run(str(path))
