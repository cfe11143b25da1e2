"""Data: rule pools, rows of every published format and their packings, ratings, views, wheels."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutate_bytes import (
    as_json_lines,
    mutate_bytes,
    mutate_gzip,
    mutate_json_rows,
    mutate_lines,
    mutate_zip,
)
from tests.fuzz.mutate_json import mutate_json, mutate_text
from tests.fuzz.mutate_parquet import mutate_parquet
from tests.fuzz.target import Target, each

FIXTURES = Path(__file__).parents[1] / "fixtures"
ATTRIBUTES = {
    "helpsteer2.jsonl": "helpsteer2/train.jsonl", "ultrafeedback.jsonl": "ultrafeedback/rows.jsonl",
    "openai_rbr.jsonl": "openai_rbr/rows.jsonl",
}  # fmt: skip
FORMATS = {
    "encore": "encore/comparisons.jsonl", "hh_rlhf": "hh_rlhf/native.jsonl", "hh derived": "hh_rlhf/derived.jsonl",
    "pairs": "pairs/conversations.jsonl", "texts": "pairs/texts.jsonl", "pku": "pku_saferlhf/rows.jsonl",
    "rewardbench": "rewardbench/filtered.json", "rewardbench2": "rewardbench2/rows.jsonl",
    "rm_bench": "rm_bench/total_dataset.json", "arena": "arena/votes.jsonl",
    "helpsteer_pairs": "helpsteer_pairs/helpsteer2.jsonl",
}  # fmt: skip


def mutate_yaml(content: bytes, rng: random.Random) -> bytes:
    """As JSON, which YAML is; or as text, with what only YAML has."""
    import yaml

    kind = rng.random()
    if kind < 0.6:
        return mutate_json(json.dumps(yaml.safe_load(content)).encode(), rng)
    if kind < 0.8:
        return mutate_text(content, rng)
    at = content.index(b"text:") + 6
    levels = [b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)]
    bomb = b"a0: &a0 [x,x]\n" + b"".join(levels)
    return rng.choice([
        content[:at] + rng.choice((b"!!python/object/apply:os.system ['x'] #", b"*missing ", b"&a *a ", b"!!binary x ",
                                   b"2024-01-01 #", b"0o17 #", b"1_000 #", b".nan #", b"yes #", b"~ #", b"|\n#", b"!x ",
                                   b"? ", b"{a: *b} #", b"\t", b"@ ", b"%", b"'", b"<<: *x ")) + content[at:],
        bomb + content, content + b"\n---\n" + content, content.replace(b"  ", b"\t"), b"%YAML 9.9\n---\n" + content,
        b"&a [*a]", b"[" * 2000, b"- " * 2000, b"{" * 5000 + b"}" * 5000, b"? " * 1000 + b"x", b"a: " * 500 + b"x",
        content.replace(b"rules:", b"rules: &r\n- *r\n- "), content * 200,
    ])  # fmt: skip


def _pool(folder: Path) -> None:
    from encore_jax.rules import Rule, RulePool
    from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto

    rules = [Rule("kind", "The response is kind."), Rule("rude", "It is rude.", -1), Rule("brief", "It is brief.")]
    graph = RuleGraph([Veto("rude", 4.0, 1.5)], [Prerequisite("brief", "kind", 2.0)], (1.0, 5.0))
    RulePool(rules, graph=graph).to_yaml(folder / "pool.yaml")


def _load_pool(folder: Path):
    from encore_jax.rules import RulePool

    pool = RulePool.from_yaml(folder / "pool.yaml")
    return pool.digest, pool.names, pool.oriented_graph


def _rows(source: str) -> list:
    content = (FIXTURES / source).read_bytes()
    rows = json.loads(content) if source.endswith(".json") else [json.loads(line) for line in content.splitlines()]
    return rows if "rated" in source else [{k: v for k, v in row.items() if k != "ratings"} for row in rows]


def _comparisons(source: str, suffix: str):
    def make(folder: Path) -> None:
        rows = _rows(source)
        if suffix == ".jsonl":
            content = as_json_lines(rows)
        elif suffix == ".jsonl.gz":
            content = gzip.compress(as_json_lines(rows))
        elif suffix == ".json":
            content = json.dumps(rows).encode()
        else:
            made = io.BytesIO()
            pq.write_table(_table(rows), made)
            content = made.getvalue()
        (folder / f"rows{suffix}").write_bytes(content)

    return make


def _table(rows: list) -> pa.Table:
    """As the Parquet files of hubs have it; rows whose prompt is of another type than the first one's are left out."""
    rows = [row for row in rows if type(row.get("prompt")) is type(rows[0].get("prompt"))]
    rows = [{k: json.dumps(v) if k == "extra" else v for k, v in row.items()} for row in rows]
    return pa.Table.from_pylist(rows)


def _read(suffix: str):
    def load(folder: Path):
        from encore_jax.cli.score_rows import read_items
        from encore_jax.data import SkipCounter, read_comparisons

        path = folder / f"rows{suffix}"
        return each(
            lambda: sum(len(item.responses) for item in read_items(path, "auto", SkipCounter())),
            lambda: sum(1 for _ in read_comparisons(path, skips=SkipCounter())),
        )

    return load


_MUTATE = {
    ".jsonl": mutate_lines,
    ".json": mutate_json_rows,
    ".jsonl.gz": lambda content, rng: mutate_gzip(content, rng, mutate_lines),
    ".parquet": mutate_parquet,
}


def _rows_target(source: str, suffix: str) -> Target:
    return Target(_comparisons(source, suffix), {f"rows{suffix}": _MUTATE[suffix]}, _read(suffix))


def _load_encore(folder: Path):
    from encore_jax.data import iter_comparisons
    from encore_jax.evaluation.rating_tables import table_arguments

    path = folder / "comparisons.jsonl"
    return each(lambda: list(iter_comparisons(path, pool=_encore_pool())), lambda: table_arguments(path, None, {}))


def _encore_comparisons(folder: Path) -> None:
    (folder / "comparisons.jsonl").write_bytes((FIXTURES / "encore/comparisons.jsonl").read_bytes())


def _encore_pool():
    from encore_jax.rules import Rule, RulePool

    rows = [json.loads(line) for name in ("comparisons", "rated") for line in
            (FIXTURES / f"encore/{name}.jsonl").read_text().splitlines()]  # fmt: skip
    named = [row["ratings"] for row in rows if row.get("ratings")]
    names = dict.fromkeys(name for one in named for part in (one if isinstance(one, list) else [one]) for name in part)
    return RulePool([Rule(name, f"{name}.") for name in names])


def _rated(folder: Path) -> None:
    (folder / "rated.jsonl").write_bytes((FIXTURES / "encore/rated.jsonl").read_bytes())


def _load_rated(folder: Path):
    from encore_jax.data import iter_rated
    from encore_jax.judge.table import TableJudge

    pool = _encore_pool()
    return TableJudge(iter_rated(folder / "rated.jsonl", pool=pool), pool, "table")


def _attributes(folder: Path) -> None:
    for name, source in ATTRIBUTES.items():
        (folder / name).write_bytes((FIXTURES / source).read_bytes())


def _load_attributes(folder: Path):
    from encore_jax.data import SkipCounter, read_attribute_columns, read_openai_rbr, read_ultrafeedback
    from encore_jax.data.readers.attributes import ULTRAFEEDBACK_ASPECTS
    from encore_jax.rules import Rule, RulePool

    skips, aspects = SkipCounter(), RulePool([Rule(name, f"{name}.") for name in ULTRAFEEDBACK_ASPECTS])
    columns = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    helpsteer = RulePool([Rule(name, f"{name}.") for name in columns])
    rbr = RulePool.shipped("openai_rbr_23")
    first, second, third = (folder / name for name in ATTRIBUTES)
    return each(
        lambda: list(read_attribute_columns(first, pool=helpsteer, scale=(0.0, 4.0), skips=skips)),
        lambda: list(read_ultrafeedback(second, pool=aspects, skips=skips)),
        lambda: list(read_openai_rbr(third, pool=rbr, skips=skips)),
    )


def write_pyrit(folder: Path) -> None:
    with zipfile.ZipFile(folder / "pyrit.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((FIXTURES / "pyrit").rglob("*.csv")):
            archive.write(path, f"pyrit/datasets/scorer_evals/{path.relative_to(FIXTURES / 'pyrit')}")


def _load_pyrit(folder: Path):
    from encore_jax.data import SkipCounter, read_pyrit
    from encore_jax.rules import RulePool

    return list(read_pyrit(folder / "pyrit.whl", pool=RulePool.shipped("pyrit_10"), skips=SkipCounter()))


def _view(folder: Path) -> None:
    from tests.evaluation.views import view

    view().save(folder / "view.npz")


def _load_view(folder: Path):
    from encore_jax.evaluation.view import View

    return View.load(folder / "view.npz")


def _calibration(folder: Path) -> None:
    from tests.reward.test_intervals import drawn

    drawn(40, missing=0.2).save(folder)


def _load_calibration(folder: Path):
    from encore_jax.reward.calibration import Calibration

    return Calibration.load(folder)


def _page(folder: Path) -> None:
    _rated(folder)
    meta = f'<meta name="encore_jax-inputs" content="{_record(folder)}">'
    (folder / "page.html").write_text(f"<html><head>{meta}</head></html>")


def _record(folder: Path) -> str:
    from encore_jax.data.input_record import input_record

    return input_record({"FILE": folder / "rated.jsonl"})


def _load_page(folder: Path):
    from encore_jax.data.input_record import has_input_record

    return has_input_record(folder / "page.html", _record(folder))


def _scores(folder: Path) -> None:
    rows = [{"id": str(i), "preferred": i % 2, "score:a": [0.1 * i, 1.0], "score:b": [1.0, 0.3 * i]} for i in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")


def _load_scores(folder: Path):
    from encore_jax.recipes.stages.ablation_source import AblationSource, Reading

    return AblationSource(str(folder / "scores.parquet")).view(Reading())


def _verdicts(folder: Path) -> None:
    rows = [{"id": f"c{i}", "verdict": "AB"[i % 2], "first": i % 2} for i in range(6)]
    (folder / "verdicts.jsonl").write_bytes(as_json_lines(rows))


def _load_verdicts(folder: Path):
    from encore_jax.data import Comparison, Message
    from encore_jax.evaluation.verdicts import verdict_rewards

    comparisons = [Comparison((Message("user", f"Q{i}"),), ("A.", "B."), 0, id=f"c{i}") for i in range(6)]
    return verdict_rewards(folder / "verdicts.jsonl", comparisons)


def mutate_table(content: bytes, rng: random.Random) -> bytes:
    """A table with cells, columns or rows changed, or damaged as any text."""
    if rng.random() < 0.4:
        return mutate_text(content, rng)
    lines = content.split(b"\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(b"\t" if b"\t" in content else b",")
    at = rng.randrange(len(cells))
    cells[at] = rng.choice(
        (b"", b"nan", b"-1", b"1e400", b"inf", b'"', b'"[]"', b'"[NaN]"', b'"[[1]]"', b"\xff", b"x" * 5000, b"Q0", b"0")
    )
    if rng.random() < 0.3:
        del cells[at]
    lines[row] = (b"\t" if b"\t" in content else b",").join(cells)
    return b"\n".join(lines * rng.choice((1, 1, 1, 3)))


def _judged(folder: Path) -> None:
    from tests.data.judged_files import write_hanna, write_llm_rubric, write_llmbar

    write_hanna(folder, prompts=2, systems=3)
    write_llmbar(folder, pairs=4)
    write_llm_rubric(folder, dialogues=4)


def _load_judged(folder: Path):
    from encore_jax.data.readers.judged_sets import judged_folders, read_judged

    names = judged_folders(folder)
    return each(*(lambda name=name: read_judged(name, names[name]) for name in names))


def _judged_files() -> dict:
    from encore_jax.data.readers.hanna import HANNA_FILE
    from encore_jax.data.readers.llm_rubric import LLM_RUBRIC_FILES

    tables = dict.fromkeys((HANNA_FILE, *LLM_RUBRIC_FILES["real"]), mutate_table)
    return tables | {"ratings.jsonl": mutate_lines, "judges.json": mutate_json}


def _tables(folder: Path) -> None:
    rules = ("kind", "true")
    ratings = [("5", "yes"), ("2", "no"), ("", "n/a"), ("4/5", "Yes")]
    wide = ["prompt;response;kind;true", *(f'Hi {i};"A; {i}";{a};{b}' for i, (a, b) in enumerate(ratings))]
    (folder / "wide.csv").write_text("\r\n".join(wide), encoding="utf-8-sig")
    (folder / "wide.csv.gz").write_bytes(gzip.compress("\r\n".join(["sep=;", *wide, "Où ?;Là;3;yes"]).encode("cp1252")))
    long = ["prompt\tresponse\trule\trating", *(f"Hi\tA {i}\t{r}\t{i + 1}" for i in range(4) for r in rules)]
    (folder / "long.tsv").write_text("\n".join(long), encoding="utf-16")
    pairs = ["prompt,response_a,response_b,preferred,kind_a,kind_b", "Hi,A,B,a,5,4", "Ho,A,B,,1,2"]
    (folder / "pairs.csv").write_text("\n".join(pairs))
    rows = [{"prompt": f"Hi {i}", "response": f"A {i}", "kind": i, "true": i > 1, "id": float(i)} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "wide.parquet")
    plain = [{"kind": i, "true": i > 1, "brief": f"{i}/5", "quality": 0.5, "prompt": f"Q {i}"} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(plain), folder / "plain.parquet")
    pairs = ["kind_a,kind_b,true_a,true_b,preferred,id", "5,4,yes,no,a,1", "1,,no,no,,2"]
    (folder / "plain.csv").write_text("\n".join(pairs))
    (folder / "wide.jsonl").write_bytes(as_json_lines(rows))


def _load_tables(folder: Path):
    from encore_jax.cli.halo import read_way
    from encore_jax.data import read_comparisons
    from encore_jax.data.rating_source import read_rating_table
    from encore_jax.evaluation.rating_tables import table_arguments

    tables = [name for name in TABLES if not name.startswith("plain")]
    return each(
        *(lambda name=name: read_rating_table(folder / name) for name in tables),
        lambda: read_way(str(folder / "wide.csv"), "", None),
        lambda: sum(1 for _ in read_comparisons(folder / "pairs.csv")),
        lambda: table_arguments(folder / "plain.csv", None, {}),
        lambda: table_arguments(folder / "plain.parquet", None, {}),
    )


TABLES = {
    "wide.csv": mutate_table, "wide.csv.gz": mutate_bytes, "long.tsv": mutate_bytes, "pairs.csv": mutate_table,
    "wide.parquet": mutate_parquet, "wide.jsonl": mutate_lines, "plain.csv": mutate_table,
    "plain.parquet": mutate_parquet,
}  # fmt: skip
DATA_TARGETS = {
    "pool": Target(_pool, {"pool.yaml": mutate_yaml}, _load_pool, 3),
    **{f"{name}.jsonl": _rows_target(source, ".jsonl") for name, source in FORMATS.items()},
    **{f"{name}.json": _rows_target(FORMATS[name], ".json") for name in ("rewardbench", "rm_bench", "pairs")},
    **{f"{name}.gz": _rows_target(FORMATS[name], ".jsonl.gz") for name in ("encore", "hh_rlhf")},
    **{f"{name}.parquet": _rows_target(FORMATS[name], ".parquet")
       for name in ("encore", "pairs", "texts", "rewardbench", "rewardbench2", "rm_bench", "pku")},
    "rated comparisons": Target(_encore_comparisons, {"comparisons.jsonl": mutate_lines}, _load_encore),
    "rated": Target(_rated, {"rated.jsonl": mutate_lines}, _load_rated),
    "attributes": Target(
        _attributes,
        dict.fromkeys(ATTRIBUTES, mutate_lines),
        _load_attributes,
    ),
    "CSV in a wheel": Target(write_pyrit, {"pyrit.whl": mutate_zip}, _load_pyrit, 2),
    "calibration": Target(_calibration, {"intervals.npz": mutate_zip}, _load_calibration),
    "page": Target(_page, {"page.html": mutate_bytes}, _load_page),
    "view": Target(_view, {"view.npz": mutate_zip}, _load_view),
    "scores": Target(_scores, {"scores.parquet": mutate_parquet}, _load_scores),
    "judged responses": Target(_judged, _judged_files(), _load_judged, 2),
    "tables of ratings": Target(
        _tables, TABLES, _load_tables, 3
    ),
    "verdicts": Target(_verdicts, {"verdicts.jsonl": mutate_lines}, _load_verdicts),
}  # fmt: skip
