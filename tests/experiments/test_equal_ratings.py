"""The same ratings, however people write them, say the same: to `encore reliability`, and to runs (`encore fit`)."""

import csv
import io
import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.cli.reliability import measure, parse
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.rules import Rule, RulePool

RULES = ("kind", "true", "harm")
POOL = RulePool(tuple(Rule(name, f"It is {name}.", -1 if name == "harm" else 1) for name in RULES), "mine")
N = 30
RNG = np.random.default_rng(0)
STEPS = RNG.integers(0, 5, (N, 2, 3))  # fifths of the scale
STEPS[0], STEPS[1] = 0, 4
STEPS[:, 0, 0] = np.maximum(STEPS[:, 0, 0], STEPS[:, 1, 0])
BINARY = np.where(STEPS > 2, 4, 0)
TEXTS = [[f"Answer {j}; to, {i}" for j in range(2)] for i in range(N)]

SCALES = {
    "0 to 1": lambda step: f"{step / 4:g}",
    "1 to 5": lambda step: f"{step + 1}",
    "decimal commas": lambda step: f"{step + 1},0",
    "1 to 10": lambda step: f"{1 + 9 * step / 4:g}",
    "of 10": lambda step: f"{1 + 9 * step / 4:g}/10",
    "percent": lambda step: f"{25 * step} %",
    "yes or no": lambda step: "yes" if step else "no",
}
FILES = {
    "CSV": {},
    "BOM": {"encoding": "utf-8-sig"},
    "semicolons": {"delimiter": ";", "encoding": "utf-8-sig"},
    "Excel's Unicode text": {"delimiter": "\t", "encoding": "utf-16"},
}
FORMS = ("long", "wide", "pairs")


def table(form, write, steps):
    """Header and rows of texts."""
    if form == "long":
        yield ["prompt", "response", "rule", "rating"]
        for i, j, k in np.ndindex(steps.shape):
            yield [f"Question {i}", TEXTS[i][j], RULES[k], write(steps[i, j, k])]
    elif form == "wide":
        yield ["prompt", "response", *RULES]
        for i, j in np.ndindex(steps.shape[:2]):
            yield [f"Question {i}", TEXTS[i][j], *map(write, steps[i, j])]
    else:
        yield ["prompt", "chosen", "rejected", *(f"{rule}_{side}" for rule in RULES for side in ("chosen", "rejected"))]
        for i in range(N):
            yield [f"Question {i}", *TEXTS[i], *(write(steps[i, j, k]) for k in range(3) for j in range(2))]


def save(path, rows, delimiter=",", encoding="utf-8"):
    """As the suffix says: CSV, or a Parquet or JSON lines file of the same texts; numbers are numbers there."""
    rows = list(rows)
    if path.suffix == ".csv":
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter).writerows(rows)
        path.write_bytes(text.getvalue().encode(encoding))
        return path
    named = [dict(zip(rows[0], map(_number, row), strict=True)) for row in rows[1:]]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(named), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in named))
    return path


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text


def own_format(folder, steps, scale=(0, 1)):
    """The same in the project's own format: comparisons with ratings, and rated responses beside pairs."""
    low, high = scale
    values = low + (high - low) * steps / 4
    both, rated, pairs = [], [], []
    for i in range(N):
        ratings = {rule: values[i, :, k].tolist() for k, rule in enumerate(RULES)}
        both.append({"prompt": f"Question {i}", "responses": TEXTS[i], "preferred": 0, "ratings": ratings})
        pairs.append({"prompt": f"Question {i}", "chosen": TEXTS[i][0], "rejected": TEXTS[i][1]})
        for j in range(2):
            ratings = dict(zip(RULES, values[i, j].tolist(), strict=True))
            rated.append({"prompt": f"Question {i}", "response": TEXTS[i][j], "ratings": ratings})
    folder.mkdir(exist_ok=True)
    for name, rows in (("both", both), ("rated", rated), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    POOL.to_yaml(folder / "pool.yaml")
    return folder


def ratings(data, folder):
    """Rated responses by their texts, and who is preferred, as a run's first stage keeps them; and its counts."""
    folder.mkdir()
    made = ingest(Sources(data), 0)
    made.save(folder)
    _, rated, comparisons, *_ = type(made).load(folder)
    by_text = {(r.prompt, r.response): np.where(r.mask, r.ratings, np.nan).round(6).tolist() for r in rated}
    chosen = {c.prompt: c.responses[c.preferred] for c in comparisons}
    return by_text, chosen, json.loads((folder / "counts.json").read_text())


def config(path, pool, ratings_path="", **more):
    data = DataConfig(source="files", path=str(path), pool=str(pool), ratings_path=str(ratings_path or ""), **more)
    data.check()
    return data


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """By whether ratings are yes or no: the project's own files, and what they say."""
    made = {}
    for name, steps in (("graded", STEPS), ("binary", BINARY)):
        folder = own_format(tmp_path_factory.mktemp(name), steps)
        run = ratings(config(folder / "pairs.jsonl", folder / "pool.yaml", folder / "rated.jsonl"), folder / "run")
        rows = [json.loads(line) for line in (folder / "both.jsonl").read_text().splitlines()]
        for row in rows:
            del row["preferred"]
        (folder / "unlabelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made[name] = folder, run, reliability_text(folder / "unlabelled.jsonl", folder)
    return made


def of(native, scale):
    return (BINARY, *native["binary"]) if scale == "yes or no" else (STEPS, *native["graded"])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", FORMS)
def test_runs_read_the_same_ratings_whatever_the_form_and_the_scale(native, tmp_path, form, scale, caplog):
    """`encore fit PAIRS RATINGS` and `encore run encore_hh` begin with this stage."""
    steps, folder, (by_text, chosen, _), _ = of(native, scale)
    for suffix in (".csv", ".parquet", ".jsonl"):
        if form == "pairs" and suffix != ".csv":
            continue  # such columns are read from CSV alone in a run
        path = save(tmp_path / f"ratings{suffix}", table(form, SCALES[scale], steps))
        both = form == "pairs"
        data = config(path if both else folder / "pairs.jsonl", folder / "pool.yaml", None if both else path)
        with caplog.at_level(logging.INFO):
            found = ratings(data, tmp_path / f"run{suffix}")
        assert found[:2] == (by_text, chosen)
        low, high = found[2]["rating_scale"]
        assert f"scale {low:g} to {high:g}, inferred from the ratings" in caplog.text


@pytest.mark.parametrize("kind", FILES)
def test_runs_read_files_as_programs_export_them(native, tmp_path, kind):
    steps, folder, (by_text, chosen, _), _ = of(native, "1 to 5")
    path = save(tmp_path / "ratings.csv", table("wide", SCALES["1 to 5"], steps), **FILES[kind])
    pairs = save(tmp_path / "pairs.csv", [row[:3] for row in table("pairs", SCALES["1 to 5"], steps)], **FILES[kind])
    assert ratings(config(pairs, folder / "pool.yaml", path), tmp_path / "run")[:2] == (by_text, chosen)


@pytest.mark.parametrize("scale", [(1, 5), (0, 100), (1, 10), (-3, 3)])
def test_runs_infer_and_say_the_scale_of_the_projects_own_format(native, tmp_path, scale, caplog):
    folder, (by_text, chosen, _), _ = native["graded"]
    own = own_format(tmp_path / "own", STEPS, scale)
    for name, data in (
        ("beside", config(own / "pairs.jsonl", own / "pool.yaml", own / "rated.jsonl")),
        ("inside", config(own / "both.jsonl", own / "pool.yaml")),
        ("given", config(own / "both.jsonl", own / "pool.yaml", scale=scale)),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            found = ratings(data, tmp_path / name)
        assert found[:2] == (by_text, chosen) and found[2]["rating_scale"] == list(scale)
        assert (name == "given") != ("inferred from the ratings (--config.data.scale=" in caplog.text)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("form", FORMS)
def test_reliability_says_the_same_whatever_the_form_and_the_scale(native, tmp_path, form, scale):
    """To the letter. Nobody says who is preferred, because a table with a rating a row has no place for it."""
    steps, folder, _, expected = of(native, scale)
    for suffix in (".csv",) if scale not in ("1 to 5", "of 10") else (".csv", ".parquet", ".jsonl"):
        path = save(tmp_path / f"ratings{suffix}", unlabelled(form, SCALES[scale], steps))
        assert reliability_text(path, folder) == expected


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("form", FORMS)
def test_reliability_reads_files_as_programs_export_them(native, tmp_path, kind, form):
    steps, folder, _, expected = of(native, "1 to 5")
    path = save(tmp_path / "ratings.csv", unlabelled(form, SCALES["1 to 5"], steps), **FILES[kind])
    assert reliability_text(path, folder) == expected


def unlabelled(form, write, steps):
    rows = list(table(form, write, steps))
    rows[0] = [name.replace("chosen", "a" if "_" in name else "response_a") for name in rows[0]]
    rows[0] = [name.replace("rejected", "b" if "_" in name else "response_b") for name in rows[0]]
    return rows


def reliability_text(path, folder):
    return str(measure(parse([str(path), f"--pool={folder / 'pool.yaml'}", "--draws=20", "--labels=1"])))
