"""A panel's questions, put to every judge, each with a journal of its own."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.data import RatedResponse, SkipCounter, iter_rated, write_rated
from encore_jax.data.comparison import Comparison
from encore_jax.data.digest import folder_sha256
from encore_jax.data.manifest import FIX
from encore_jax.errors import InputError
from encore_jax.evaluation.panel_arguments import MOST_COLUMNS
from encore_jax.http.contact import check_contact
from encore_jax.json_shape import read_json
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Judge, rating_questions
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.panel_config import PanelConfig, with_name
from encore_jax.recipes.stages.answering import TrialDone, WaitsForResults, nothing_rated
from encore_jax.recipes.stages.ingest import Ingested, ingest
from encore_jax.recipes.stages.judge import Rated, rated_by
from encore_jax.recipes.stages.judges import Rules, RunJudge, asking, make_judge
from encore_jax.recipes.stages.records import ANY, read_ratings, require_rated
from encore_jax.rules import RulePool

ANSWERS = "answers"
"""Folder of the journals, outside of any stage's folder."""
RULES, TABLES, MEMBERS = "rules.yaml", "tables.json", "members.json"


class Member(NamedTuple):
    """One draw of a panel's judge.

    Attributes:
      judge: its judge's name, which is told where something is wrong.
      asked: how it answers.
    """

    judge: str
    asked: RunJudge

    def key(self) -> dict[str, Any]:
        """What its answers depend on."""
        return {"judge": self.judge, "asked": with_name(self.judge, self.asked.key)}


class Table(NamedTuple):
    """A file that one judge of a panel reads.

    Attributes:
      judge: its name, which is told where something is wrong.
      sources: the file is their ratings.
    """

    judge: str
    sources: Sources

    def key(self) -> dict[str, Any]:
        """What is read."""
        return with_name(self.judge, self.sources.key, table=True)

    @property
    def is_local(self) -> bool:
        """Whether reading it fetches nothing."""
        return self.sources.is_local

    def check_there(self) -> None:
        """Raises InputError, naming the judge, where its file does not lie on this machine and should."""
        with_name(self.judge, self.sources.check_there, table=True)


def tables_of(config: PanelConfig) -> dict[str, Table]:
    """By judge, the table that it reads, if that is a file of its own."""
    return {name: Table(name, Sources(data)) for name, data in config.tables().items()}


def members_of(config: PanelConfig) -> dict[str, Member]:
    """By name of every draw, who is asked and how."""
    data, judges, members = config.data, dict(config.named()), {}
    for member, (name, asked) in config.members().items():
        judge = judges[name]
        table = judge.table.path or data.ratings_path or data.path or data.source
        options = {"table": table, "label": judge.table.label, "offline": data.offline}
        of = RunJudge(asked, judge.backbone, config.mesh, fetch_backbone=judge.fetch_backbone, **options)
        members[member] = Member(name, of)
    return members


class PanelData(NamedTuple):
    """What a panel is asked about, and the tables that some of its judges are.

    Attributes:
      data: as of every run.
      rules: that the panel is asked about.
      tables: by judge, the rated responses of its own file, on those rules.
      counts: by judge, rows of its table used and left out.
    """

    data: Ingested
    rules: RulePool
    tables: dict[str, list[RatedResponse]]
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes what every ingest stage does, rules.yaml, NAME.rated.jsonl of every table, and tables.json."""
        self.data.save(folder)
        self.rules.to_yaml(folder / RULES)
        for name, rated in self.tables.items():
            write_rated(folder / f"{name}.rated.jsonl", rated, pool=self.rules)
        (folder / TABLES).write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> PanelData:
        """What `save` wrote."""
        rules, counts = RulePool.from_yaml(folder / RULES), read_json(folder / TABLES, dict[str, object], fix=FIX)
        tables = {name: list(iter_rated(folder / f"{name}.rated.jsonl", pool=rules)) for name in counts}
        return cls(Ingested.load(folder), rules, tables, counts)


def ingest_panel(sources: Sources, tables: Mapping[str, Table], rules: Rules, seed: int) -> PanelData:
    """Reads the sources, and the file of every judge that has one.

    Args:
      sources: what is rated.
      tables: by judge, the sources that name its file.
      rules: that the panel is asked about.
      seed: of what is drawn.

    Raises:
      InputError: see `ingest`; of a table, naming the judge.
    """
    data, pool = ingest(sources, seed, need_rated=sources.rated, need=ANY), rules.pool
    rated, counts = {}, {}
    for name, table in tables.items():
        skips, settings = SkipCounter(), table.sources.data
        rated[name] = with_name(name, functools.partial(read_ratings, settings, pool, skips), table=True)
        where = f"judge {name}, {settings.ratings_path}"
        require_rated(rated[name], skips, where, "check the file, or leave the judge out")
        logging.info("judge %s, rated responses: %s", name, skips)
        counts[name] = {"rated_responses": len(rated[name]), "rated_rows_skipped": skips.reasons}
    return PanelData(data, pool, rated, counts)


class PanelRatings:
    """What every judge of a panel said, a folder for each draw, as a rating run's rate stage writes it.

    Args:
      folder: of those folders.
      judges: by name of every draw, in order, its judge's.
    """

    def __init__(self, folder: Path, judges: Mapping[str, str]):
        self.folder, self.judges = folder, dict(judges)

    def of(self, member: str) -> Rated:
        """What one of them said."""
        return Rated.load(self.folder / member)

    def save(self, folder: Path) -> None:
        """Writes members.json: the judges, and a hash over each draw's files."""
        told = {name: {"judge": judge, "sha256": folder_sha256(folder / name)} for name, judge in self.judges.items()}
        (folder / MEMBERS).write_text(json.dumps(told, indent=1))

    @classmethod
    def load(cls, folder: Path) -> PanelRatings:
        """What `save` wrote.

        Raises:
          InputError: a draw's files are others by now.
        """
        told = read_json(folder / MEMBERS, dict[str, dict[str, str]], fix=FIX)
        for name, member in told.items():
            if folder_sha256(folder / name) != member["sha256"]:
                fix = "run the same command with --rerun=rate: what was answered is in the journals"
                raise InputError("was changed after its stage", where=str(folder / name), fix=fix)
        return cls(folder, {name: member["judge"] for name, member in told.items()})


def rate_panel(data: PanelData, members: Mapping[str, Member], seed: int, folder: Path) -> PanelRatings:
    """Asks every judge what its journal does not know.

    Every judge that can be checked is checked before anybody is asked: that no two are the same, that servers can be
    reached, and that there are keys.

    Args:
      data: whose comparisons are rated, on which rules, and the judges' tables.
      members: by name of every draw, who is asked.
      seed: of what a trial asks about.
      folder: the stage's; a folder for each draw is made in it, and the journals live beside it.

    Raises:
      WaitsForResults, TrialDone: of some judge; all others were asked.
      InputError: naming the judge; what was answered is in the journals.
    """
    pool, comparisons, workdir = data.rules, data.data.comparisons, folder.parent / ANSWERS
    check_size([member.judge for member in members.values()], pool)
    tables = _made_tables(data, members)
    _check_different(members, tables)
    _check_reachable(members, comparisons, pool, workdir)
    stops = []
    for name, member in members.items():
        logging.info("judge %s", name)
        (folder / name).mkdir(exist_ok=True)  # of a run that was interrupted

        def ask(name=name, asked=member.asked) -> None:
            judge = tables.get(name) or make_judge(asked, pool, ())
            rated = rated_by(asked, judge, comparisons, pool, seed, workdir / name)
            rated.save(folder / name)
            _check_rated(rated.summary, asked)

        try:
            with_name(member.judge, ask)
        except (WaitsForResults, TrialDone) as stop:
            stops.append(stop)
    if stops:
        raise next((stop for stop in stops if isinstance(stop, WaitsForResults)), stops[0])
    return PanelRatings(folder, {name: member.judge for name, member in members.items()})


def check_size(judges: Sequence[str], pool: RulePool) -> None:
    """Whether judges times rules are enough to compare, and not too many.

    Args:
      judges: of every draw its judge.
      pool: the rules.

    Raises:
      InputError: before anybody is asked.
    """
    rows = len(judges) if len(set(judges)) == 1 else len(set(judges))
    if rows * len(pool) < FEWEST_RULES:
        problem = f"{rows} judges on {len(pool)} rule are {rows * len(pool)} columns; agreement needs {FEWEST_RULES}"
        raise InputError(problem, where="config.judges", fix="add a judge or a rule")
    if rows * len(pool) > MOST_COLUMNS:
        problem = f"{rows} judges times {len(pool)} rules are more than {MOST_COLUMNS} columns"
        raise InputError(problem, where="config.pool", fix="ask about fewer rules")


def _check_rated(told: Mapping[str, Any], asked: RunJudge) -> None:
    if not told["rated_responses"]:
        what = f"{sum(told['questions'].values()):,} questions"
        raise nothing_rated(what, told["problems"], told["words"], asked.judge)


def _of_kind(members: Mapping[str, Member], *kinds: str) -> Iterator[tuple[str, str, RunJudge]]:
    """Draws that are asked in one of these ways: name, its judge's, and who is asked."""
    for name, member in members.items():
        if member.asked.judge.kind in kinds:
            yield name, member.judge, member.asked


def _made_tables(data: PanelData, members: Mapping[str, Member]) -> dict[str, Judge]:
    made = {}
    for name, judge, asked in _of_kind(members, "table"):
        own = name in data.tables
        rules, rated = (data.rules, data.tables[name]) if own else (data.data.pool, data.data.rated)
        made[name] = with_name(judge, functools.partial(make_judge, asked, rules, rated))
    return made


def _check_different(members: Mapping[str, Member], tables: Mapping[str, Judge]) -> None:
    """Two judges of one identity would count twice what is said once."""
    seen: dict[str, str] = {}
    for name, member in members.items():
        asked = member.asked
        if name in tables:
            identity = tables[name].identity.digest.partition("@")[2] or tables[name].identity.digest
        elif asked.judge.kind in ("server", "batch"):
            identity = with_name(member.judge, functools.partial(asking, asked)).identity.digest
        else:
            identity = repr((asked.model, asked.judge.kind, asked.judge.prompt, asked.judge.call_size))
        if (other := seen.setdefault(identity, name)) != name:
            where = f"config.judges.{member.judge}.revision"
            fix = f"leave one out; if they are different models of one name, say so by --{where}"
            raise InputError(f"is the same as {other!r}: model, prompt and decoding", where=f"judge {name}", fix=fix)


def _check_reachable(
    members: Mapping[str, Member], comparisons: Sequence[Comparison], pool: RulePool, workdir: Path
) -> None:
    """Servers that have something to answer must be there before anybody is paid."""
    for name, judge, asked in _of_kind(members, "server"):
        with Journal(asked.judge.journal_in(workdir / name), asking(asked).identity, pool) as journal:
            questions = rating_questions(comparisons, pool, asked.judge.call_size)
            pending = journal.pending(questions, asked.judge.policy)
            waiting = next(pending, None) is not None
        if waiting:
            with_name(judge, functools.partial(check_contact, asked.judge.server))
