"""A panel's ratings side by side: their mean as rated data, all of them as a long table, and who can be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encore_jax.data import iter_comparisons, write_comparisons, write_rated
from encore_jax.data.comparison import Comparison
from encore_jax.data.manifest import FIX
from encore_jax.data.panel import Panel, judge_mean, judge_numbers, panel_comparisons, stack_panel
from encore_jax.evaluation.label_next import listed
from encore_jax.evaluation.panel import panel_reliability
from encore_jax.evaluation.panel_results import panel_results
from encore_jax.json_shape import read_json
from encore_jax.judge.export import summary_rows
from encore_jax.judge.question import conversation_id, distinct_responses
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.judge import COMPARISONS, POOL, RATED
from encore_jax.recipes.stages.panel import PanelRatings
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.report.panel_page import render_panel
from encore_jax.report.panel_tables import panel_lines
from encore_jax.rules import RulePool
from encore_jax.terminal_text import one_line

LONG, FOUND = "ratings.parquet", "reliability.json"
ROWS_AT_ONCE = 1 << 16


class MeasuredPanel(NamedTuple):
    """A panel's ratings side by side.

    Attributes:
      pool: the rules.
      means: the comparisons with the mean of the averaged judges' ratings.
      rows: every judge's rating of every response on every rule, in parts.
      found: who can be trusted, and what was asked.
    """

    pool: RulePool
    means: Iterable[Comparison]
    rows: Iterable[list[dict[str, Any]]]
    found: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes pool.yaml, comparisons.jsonl and rated.jsonl (means), ratings.parquet (all), and reliability.json."""
        self.pool.to_yaml(folder / POOL)
        write_comparisons(folder / COMPARISONS, self.means, pool=self.pool)
        responses = distinct_responses(iter_comparisons(folder / COMPARISONS, pool=self.pool))
        write_rated(folder / RATED, responses, pool=self.pool)
        _write_long(folder / LONG, self.rows)
        (folder / FOUND).write_text(json.dumps(self.found, indent=1, allow_nan=False))


class PanelFound(NamedTuple):
    """Of a measured panel what its report needs.

    Attributes:
      pool: the rules.
      found: who can be trusted, and what was asked.
    """

    pool: RulePool
    found: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> PanelFound:
        return cls(RulePool.from_yaml(folder / POOL), read_json(folder / FOUND, dict[str, object], fix=FIX))


class PanelCounts(NamedTuple):
    """Of what a panel's ingest stage wrote, the counts alone.

    Attributes:
      counts: of the data.
      tables: of the judges' tables.
    """

    counts: dict[str, Any]
    tables: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> PanelCounts:
        return cls(*(read_json(folder / f"{name}.json", dict[str, object], fix=FIX) for name in cls._fields))


def measure_panel(
    rated: PanelRatings,
    *,
    min_judges: int,
    mean_of: Sequence[str],
    anchor: Sequence[str],
    replicates: int,
    tau: float,
    seed: int,
) -> MeasuredPanel:
    """Who agrees with whom, and the mean of those who are averaged.

    Args:
      rated: by all judges.
      min_judges: a mean needs ratings by so many; 0 means all that are averaged.
      mean_of: judges that are averaged; all if there are none.
      anchor: a judge and a rule whose ratings are known to be about quality; or nothing.
      replicates: bootstrap draws over prompts.
      tau: temperature of the entropy weights that the panel's reward is compared with.
      seed: of the bootstrap.
    """
    parts = {name: rated.of(name) for name in rated.judges}
    judges = list(rated.judges.values())
    pool = next(iter(parts.values())).pool
    labels = {name: part.summary["label"] for name, part in parts.items()}
    label = " and ".join(sorted(set(labels.values())))
    judged = {name: part.comparisons for name, part in parts.items()}
    panel = stack_panel(judged, judges)
    reliability = panel_reliability(
        panel.ratings,
        panel.preferred,
        judges=panel.names,
        rules=panel.rules,
        where=panel.mask,
        draws_of=panel.judges,
        prompt=panel.prompt,
        anchor=tuple(anchor) or None,
        tau=tau,
        draws=replicates,
        seed=seed,
    )
    averaged = {name: judge for name, judge in rated.judges.items() if not mean_of or judge in mean_of}
    fewest = min_judges or len(set(averaged.values()))
    means = panel_comparisons({name: judged[name] for name in averaged}, list(averaged.values()), label, fewest)
    numbers, first = reliability.columns.label_next.tolist(), list(next(iter(judged.values())))
    results = panel_results(reliability) | listed([first[i] for i in numbers], numbers)
    found = {"panel": results, "label": label, "fewest": fewest}
    found["members"] = [_member(name, judge, parts[name].summary) for name, judge in rated.judges.items()]
    found |= _counts(panel, list(averaged), fewest) | {"mean_of": list(dict.fromkeys(averaged.values()))}
    return MeasuredPanel(pool, means, _long_rows(judges, judged, labels, pool), found)


def _member(name: str, judge: str, told: dict[str, Any]) -> dict[str, Any]:
    """What the report says of one draw."""
    return {
        "name": name,
        "judge": judge,
        "kind": told["identity"]["kind"],
        "model": told["identity"]["model"],
        "label": told["label"],
        "rows": summary_rows(told),
        "summary": told,
    }


def _counts(panel: Panel, averaged: list[str], fewest: int) -> dict[str, int]:
    """How many ratings are means over the averaged rows' judges, and how many too few of those gave."""
    rows = [panel.names.index(name) for name in averaged]
    values = np.where(panel.mask, panel.ratings, np.nan).astype(np.float64)[rows]
    _, count = judge_mean(values, judge_numbers([panel.judges[row] for row in rows]))
    return {"mean_ratings": int((count >= fewest).sum()), "left_masked": int(((count > 0) & (count < fewest)).sum())}


def _long_rows(
    judges: Sequence[str], judged: Mapping[str, Iterable[Comparison]], labels: Mapping[str, str], pool: RulePool
) -> Iterator[list[dict[str, Any]]]:
    """A row for every judge's rating of every response on every rule, as the judge gave it on the scale from 0 to 1."""
    for judge, (name, comparisons) in zip(judges, judged.items(), strict=True):
        rows: list[dict] = []
        for i, c in enumerate(comparisons):
            given = np.where(pool.directions < 0, 1 - c.ratings, c.ratings)
            for response, text in enumerate(c.responses):
                place = {"comparison": c.id or str(i), "conversation": conversation_id(c.prompt, (text,))}
                place |= {"judge": judge, "draw": name, "label": labels[name], "response": response}
                rows += [
                    place | {"rule": rule, "rating": float(given[response, k]) if c.mask[response, k] else None}
                    for k, rule in enumerate(pool.names)
                ]
            if len(rows) >= ROWS_AT_ONCE:
                yield rows
                rows = []
        yield rows


def _write_long(path: Path, parts: Iterable[list[dict[str, Any]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("comparison", "conversation", "judge", "draw", "rule", "label")
    schema = pa.schema([(name, pa.string()) for name in texts] + [("response", pa.int32()), ("rating", pa.float32())])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in parts:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def report_panel(data: PanelCounts, panel: PanelFound, config: Mapping[str, Any]) -> Pages:
    """results.json and report.html.

    Args:
      data: what was read.
      panel: what was found.
      config: the whole configuration as plain values, for the record.
    """
    results = panel.found | {
        "name": config["name"],
        "counts": data._asdict(),
        "pool": {"name": panel.pool.name, "digest": panel.pool.digest},
        "config": dict(config),
        "versions": versions(),
    }
    return pages_of(results, {"report.html": lambda made: render_panel(made["panel"], made)})


def show_panel(folder: Path) -> None:
    """Prints the tables of a finished report, and makes sure that the work directory holds its copies."""
    results = publish(folder)
    first, *rest = panel_lines(results["panel"], results, str(folder.parent))
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
