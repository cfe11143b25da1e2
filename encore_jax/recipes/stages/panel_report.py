"""A panel's ratings side by side: their mean as rated data, all of them as a long table, and who can be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from encore_jax.data import iter_comparisons, write_comparisons, write_rated
from encore_jax.data.atomic import atomic_path
from encore_jax.data.comparison import Comparison
from encore_jax.evaluation.panel import panel_reliability
from encore_jax.evaluation.panel_results import panel_results
from encore_jax.judge.export import summary_rows
from encore_jax.judge.panel import Panel, judge_mean, judge_numbers, panel_comparisons, stack_panel
from encore_jax.judge.question import conversation_id, distinct_responses
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.panel_config import PanelConfig
from encore_jax.recipes.stages.report import PUBLISHED, publish
from encore_jax.report.panel_page import render_panel
from encore_jax.report.panel_tables import panel_lines
from encore_jax.rules import RulePool
from encore_jax.terminal_text import one_line

LONG = "ratings.parquet"
ROWS_AT_ONCE = 1 << 16


def measure_panel(config: PanelConfig, rated: Path, folder: Path) -> None:
    """Writes pool.yaml, comparisons.jsonl and rated.jsonl (means), ratings.parquet (all), and reliability.json."""
    members = config.members()
    judges = [judge for judge, _ in members.values()]
    pool = RulePool.from_yaml(rated / next(iter(members)) / "pool.yaml")
    told = {name: json.loads((rated / name / "summary.json").read_text()) for name in members}
    label = " and ".join(sorted({summary["label"] for summary in told.values()}))

    def judged(names=tuple(members)) -> dict[str, Iterator[Comparison]]:
        return {name: iter_comparisons(rated / name / "comparisons.jsonl", pool=pool) for name in names}

    panel = stack_panel(judged(), judges)
    found = panel_reliability(
        panel.ratings,
        panel.preferred,
        judges=panel.names,
        rules=panel.rules,
        where=panel.mask,
        draws_of=panel.judges,
        prompt=panel.prompt,
        anchor=config.anchor or None,
        tau=config.tau,
        draws=config.replicates,
        seed=config.seed,
    )
    averaged = {name: judge for name, (judge, _) in members.items() if not config.mean_of or judge in config.mean_of}
    fewest = config.min_judges or len(set(averaged.values()))
    pool.to_yaml(folder / "pool.yaml")
    means = panel_comparisons(judged(averaged), list(averaged.values()), label, fewest)
    write_comparisons(folder / "comparisons.jsonl", means, pool=pool)
    responses = distinct_responses(iter_comparisons(folder / "comparisons.jsonl", pool=pool))
    write_rated(folder / "rated.jsonl", responses, pool=pool)
    ids = _write_long(folder / LONG, judged(), judges, {name: part["label"] for name, part in told.items()}, pool)
    results = panel_results(found)
    results["label_next"] = [ids[i] for i in results["label_next"]]
    counts = _counts(panel, list(averaged), fewest)
    summaries = [
        {
            "name": name,
            "judge": judge,
            "kind": told[name]["identity"]["kind"],
            "model": told[name]["identity"]["model"],
            "label": told[name]["label"],
            "rows": summary_rows(told[name]),
            "summary": told[name],
        }
        for name, judge in zip(members, judges, strict=True)
    ]
    written = {"panel": results, "label": label, "fewest": fewest, "members": summaries} | counts
    written["mean_of"] = list(dict.fromkeys(averaged.values()))
    (folder / "reliability.json").write_text(json.dumps(written, indent=1, allow_nan=False))


def _counts(panel: Panel, averaged: list[str], fewest: int) -> dict[str, int]:
    """How many ratings are means over the averaged rows' judges, and how many too few of those gave."""
    rows = [panel.names.index(name) for name in averaged]
    values = np.where(panel.mask, panel.ratings, np.nan).astype(np.float64)[rows]
    _, count = judge_mean(values, judge_numbers([panel.judges[row] for row in rows]))
    return {"mean_ratings": int((count >= fewest).sum()), "left_masked": int(((count > 0) & (count < fewest)).sum())}


def _write_long(path: Path, judged, judges, labels: dict[str, str], pool: RulePool) -> list[str]:
    """A row for every judge's rating of every response on every rule, as the judge gave it on the scale from 0 to 1.

    Returns:
      What every comparison is called.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("comparison", "conversation", "judge", "draw", "rule", "label")
    schema = pa.schema([(name, pa.string()) for name in texts] + [("response", pa.int32()), ("rating", pa.float32())])
    ids: list[str] = []
    with pq.ParquetWriter(path, schema) as writer:
        for judge, (name, comparisons) in zip(judges, judged.items(), strict=True):
            rows: list[dict] = []
            names = []
            for i, c in enumerate(comparisons):
                names.append(c.id or str(i))
                given = np.where(pool.directions < 0, 1 - c.ratings, c.ratings)
                for response, text in enumerate(c.responses):
                    place = {"comparison": names[-1], "conversation": conversation_id(c.prompt, (text,))}
                    place |= {"judge": judge, "draw": name, "label": labels[name], "response": response}
                    rows += [
                        place | {"rule": rule, "rating": float(given[response, k]) if c.mask[response, k] else None}
                        for k, rule in enumerate(pool.names)
                    ]
                if len(rows) >= ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema))
            ids = names
    return ids


def report_panel(config: PanelConfig, ingested: Path, measured: Path, folder: Path) -> None:
    """Writes results.json and report.html, copies them up to the work directory, and shows the tables."""
    told = json.loads((measured / "reliability.json").read_text())
    pool = RulePool.from_yaml(measured / "pool.yaml")
    results = told | {
        "name": config.name,
        "counts": {name: json.loads((ingested / f"{name}.json").read_text()) for name in ("counts", "tables")},
        "pool": {"name": pool.name, "digest": pool.digest},
        "config": to_dict(config),
        "versions": versions(),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    with atomic_path(folder / PUBLISHED[1]) as temporary:
        temporary.write_text(render_panel(results["panel"], results), encoding="utf-8")
    show_panel(folder)


def show_panel(folder: Path) -> None:
    """Prints the tables of a finished report, and makes sure that the work directory holds its copies."""
    results = publish(folder)
    first, *rest = panel_lines(results["panel"])
    print(f"\n{first}\n\n{one_line(results['name'])}: {results['label']}")
    for member in results["members"]:
        counts = member["summary"]["questions"]
        problems = ", ".join(f"{n} {one_line(kind)}" for kind, n in member["summary"]["problems"].items())
        print(
            f"{member['name']}: {member['label']} by {one_line(member['model'])}, {counts['ok']:,} rated, "
            f"{counts['unparsable'] + counts['failed']:,} without a rating{f' ({problems})' if problems else ''}"
        )
    print("\n".join(rest))
    print(
        f"Means over at least {results['fewest']} judges: {results['mean_ratings']:,}; rated by fewer and left out of "
        f"them: {results['left_masked']:,}"
    )
    at = folder.parent / "panel"
    averaged, left = results.get("mean_of"), results["panel"]["left_out"]
    of = "all judges" if averaged is None or len(averaged) == len(_judges(results)) else ", ".join(averaged)
    print(f"\nMean ratings, of {of}: {at}/comparisons.jsonl and rated.jsonl; every judge's: {at / LONG}")
    kept = [name for name in averaged or () if name not in left]
    if 0 < len(kept) < len(averaged or ()):
        print(f'To leave out {", ".join(left)}: --config.mean_of="{tuple(kept)}" (nothing is asked again)')
    print(f"Report: {folder.parent / 'report.html'}")


def _judges(results: dict) -> set[str]:
    return {member["judge"] for member in results["members"]}
