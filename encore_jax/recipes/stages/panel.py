"""A panel's questions, put to every judge, each with a journal of its own."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.data import SkipCounter, iter_rated, write_rated
from encore_jax.errors import InputError
from encore_jax.evaluation.panel_arguments import MOST_COLUMNS
from encore_jax.judge.contact import check_contact
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Judge, rating_questions
from encore_jax.judge.table import TableJudge
from encore_jax.recipes.panel_config import PanelConfig, with_name
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages import ingest as ingest_stage
from encore_jax.recipes.stages.answering import TrialDone, WaitsForResults, nothing_rated
from encore_jax.recipes.stages.judge import judge as rate
from encore_jax.recipes.stages.judges import asking, judging_pool
from encore_jax.recipes.stages.records import ANY, read_ratings, source_hashes
from encore_jax.rules import RulePool

ANSWERS = "answers"
"""Folder of the journals, outside of any stage's folder."""


def panel_sources(config: PanelConfig) -> dict:
    """Hashes of all files that are read: the data's, and every table's."""
    found = {"data": source_hashes(config.data, _reads_own(config))}
    for name, member in _tables(config):
        found[name] = with_name(name, lambda member=member: source_hashes(member.data, rated=True))
    return found


def ingest_panel(config: PanelConfig, folder: Path) -> None:
    """As every ingest stage, and NAME.rated.jsonl of every table with a file of its own."""
    ingest_stage.ingest(config.data, config.seed, folder, need_rated=_reads_own(config), need=ANY)
    tables = {}
    for name, member in _tables(config):
        pool, skips = judging_pool(member), SkipCounter()
        read = functools.partial(read_ratings, member.data, pool, skips)
        rated = with_name(name, read, table=True)
        if not rated:
            problem, where = f"there is no usable rated response: {skips}", f"judge {name}, {member.data.ratings_path}"
            raise InputError(problem, where=where, fix="check the file, or leave the judge out")
        logging.info("judge %s, rated responses: %s", name, skips)
        write_rated(folder / f"{name}.rated.jsonl", rated, pool=pool)
        tables[name] = {"rated_responses": len(rated), "rated_rows_skipped": skips.reasons}
    (folder / "tables.json").write_text(json.dumps(tables, indent=1))


def check_size(config: PanelConfig, pool: RulePool) -> RulePool:
    """The pool, if judges times rules are enough to compare, and not too many.

    Raises:
      InputError: before anybody is asked.
    """
    judges = len(dict(config.named()))
    rows = len(config.members()) if judges == 1 else judges
    if rows * len(pool) < FEWEST_RULES:
        problem = f"{rows} judges on {len(pool)} rule are {rows * len(pool)} columns; agreement needs {FEWEST_RULES}"
        raise InputError(problem, where="config.judges", fix="add a judge or a rule")
    if rows * len(pool) > MOST_COLUMNS:
        problem = f"{rows} judges times {len(pool)} rules are more than {MOST_COLUMNS} columns"
        raise InputError(problem, where="config.pool", fix="ask about fewer rules")
    return pool


def rate_panel(config: PanelConfig, ingested: Path, workdir: Path, folder: Path) -> None:
    """Asks every judge what its journal does not know, and writes a folder for each, as a rating run's rate stage.

    Every judge that can be checked is checked before anybody is asked: that no two are the same, that servers can be
    reached, and that there are keys.

    Raises:
      WaitsForResults, TrialDone: of some judge; all others were asked.
      InputError: naming the judge; what was answered is in the journals.
    """
    members, tables = config.members(), _made_tables(config, ingested)
    _check_different(config, members, tables)
    _check_reachable(members, ingested, workdir)
    stops = []
    for name, (judge, member) in members.items():
        logging.info("judge %s", name)
        (folder / name).mkdir(exist_ok=True)  # of a run that was interrupted
        ask = functools.partial(rate, member, ingested, workdir / ANSWERS / name, folder / name, made=tables.get(name))
        try:
            with_name(judge, ask)
        except (WaitsForResults, TrialDone) as stop:
            stops.append(stop)
            continue
        told = json.loads((folder / name / "summary.json").read_text())
        if not told["rated_responses"]:
            what = f"{sum(told['questions'].values()):,} questions"
            with_name(judge, functools.partial(_refuse, nothing_rated(what, told["problems"], told["words"], member)))
    if stops:
        raise next((stop for stop in stops if isinstance(stop, WaitsForResults)), stops[0])


def _refuse(error: InputError) -> None:
    raise error


def _reads_own(config: PanelConfig) -> bool:
    """Whether a judge takes the data's own ratings."""
    return any(judge.kind == "table" and not judge.table.path for _, judge in config.named())


def _tables(config: PanelConfig) -> Iterator[tuple[str, RatingConfig]]:
    """The judges that read a file of their own."""
    for name, (own, member) in config.members().items():
        judge = getattr(config.judges, own)
        if judge.kind == "table" and judge.table.path:
            yield name, member


def _made_tables(config: PanelConfig, ingested: Path) -> dict[str, TableJudge]:
    files, made = dict(_tables(config)), {}
    pool, own, _ = ingest_stage.load(ingested) if _reads_own(config) else (None, [], [])
    for name, judge in config.named():
        if judge.kind != "table":
            continue
        if name in files:
            rules = judging_pool(files[name])
            rated, path = iter_rated(ingested / f"{name}.rated.jsonl", pool=rules), judge.table.path
        else:
            rules, rated, path = pool, own, config.data.ratings_path or config.data.path or config.data.source
        made[name] = with_name(
            name, lambda rated=rated, rules=rules, path=path, judge=judge: TableJudge(
                rated, rules, path, judge.table.label
            ),
        )  # fmt: skip
    return made


def _check_different(config: PanelConfig, members: Mapping, tables: Mapping[str, Judge]) -> None:
    """Two judges of one identity would count twice what is said once."""
    seen: dict[str, str] = {}
    for name, (judge, member) in members.items():
        if name in tables:
            identity = tables[name].identity.digest.partition("@")[2] or tables[name].identity.digest
        elif member.judge.kind in ("server", "batch"):
            identity = with_name(judge, lambda member=member: asking(member).identity.digest)
        else:
            identity = repr((member.model, member.judge.kind, member.judge.prompt))
        if (other := seen.setdefault(identity, name)) != name:
            fix = f"leave one out; if they are different models of one name, say so by --config.judges.{judge}.revision"
            raise InputError(f"is the same as {other!r}: model, prompt and decoding", where=f"judge {name}", fix=fix)


def _check_reachable(members: Mapping, ingested: Path, workdir: Path) -> None:
    """Servers that have something to answer must be there before anybody is paid."""
    _, _, comparisons = ingest_stage.load(ingested)
    for name, (judge, member) in members.items():
        if member.judge.kind != "server":
            continue
        pool = judging_pool(member)
        with Journal(member.journal(workdir / ANSWERS / name), asking(member).identity, pool) as journal:
            pending = journal.pending(rating_questions(comparisons, pool), member.judge.policy)
            waiting = next(pending, None) is not None
        if waiting:
            with_name(judge, functools.partial(check_contact, member.judge.server))
