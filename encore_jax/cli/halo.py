"""What asking about several rules in one call does to ratings: two rating runs of the same comparisons, side by side.

    encore halo runs/isolated runs/together --reversed=runs/reversed

ISOLATED rated every rule by itself, TOGETHER several in a call (--config.judge.rules_per_call), and REVERSED asked the
same calls about a pool whose rules stand in the reversed order. Each is the work directory of `encore rate`, a folder
that `enc.rate(...).save` wrote, or a file of ratings as `encore reliability` takes them (comparisons or rated responses
with ratings, a table with a column for every rule). Only responses that all of them rated count; others are told.

Prints for every rule how often both ways fall to the same side of the scale's middle, the mean difference and the
correlation, how much more two rules correlate in a call, and one sentence: whether ratings in calls may stand for
ratings of each rule by itself. Without --reversed that sentence is never yes. `--config.judge.halo_sample=50` of
`encore rate` asks a sample in all three ways and prints the same, with what each way costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encore_jax.cli.list_values import list_items
from encore_jax.cli.reliability import RULES_HELP, scale_of
from encore_jax.command_line import Parser, check_number, run_command
from encore_jax.data import RatedResponse
from encore_jax.data.manifest import FIX, reading_stage
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_run import rating_run
from encore_jax.data.rating_shape import pool_beside, shape_of
from encore_jax.data.rating_source import read_rating_table
from encore_jax.data.rule_names import AUTOMATIC, RuleNames, check_not_both, check_of_table
from encore_jax.data.scales import UNIT, scaled
from encore_jax.data.scored_rows import is_scored, no_such_file, rules_of
from encore_jax.errors import InputError
from encore_jax.evaluation.halo import DRAWS
from encore_jax.evaluation.halo_of_ratings import WAYS, halo_of, side_by_side
from encore_jax.evaluation.reliability_arguments import MOST_DRAWS
from encore_jax.json_shape import read_json
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.table import read_rated
from encore_jax.progress import SAY_AFTER, at_work
from encore_jax.report.halo_table import halo_text
from encore_jax.rules import Rule, RulePool
from encore_jax.settings import MAX_INT
from encore_jax.terminal_text import one_line

SUMMARY, OWN = "summary.json", ("comparisons.jsonl", "rated.jsonl")
"""Beside a run's own ratings, which have these names: who was asked, and how."""


@dataclasses.dataclass
class Identity:
    """Of a summary, who was asked."""

    model: str = ""


@dataclasses.dataclass
class Summary:
    """Of a run, how its judge was asked; "decoding" says how many rules there were in a call."""

    identity: Identity = dataclasses.field(default_factory=Identity)
    label: str = ""
    decoding: dict[str, Any] = dataclasses.field(default_factory=dict)


class Way(NamedTuple):
    """Ratings of one way of asking.

    Attributes:
      name: as the user gave it.
      rated: the responses, from 0 to 1, oriented.
      read: the rules by which the ratings are oriented.
      pool: the same in the order in which they were shown; None where no pool lies beside the ratings.
      scale: on which they were given, in words.
      summary: how the judge was asked; None where only its ratings are known.
      columns: what to know of which columns of a table are rules, in sentences.
    """

    name: str
    rated: list[RatedResponse]
    read: RulePool
    pool: RulePool | None
    scale: str
    summary: Summary | None
    columns: tuple[str, ...] = ()

    @property
    def rules_per_call(self) -> int | None:
        """1 for every rule by itself, 0 for all in a call; None where it is not known."""
        if self.summary is None:
            return None
        size = self.summary.decoding.get("rules_per_call", ISOLATED)
        return size if isinstance(size, int) else None


@at_work("halo", first=SAY_AFTER)
def main(given: argparse.Namespace) -> None:
    """Reads, compares, prints.

    Raises:
      InputError: a flag or a file that makes no sense, ratings of other rules, judges or comparisons, or runs that
        asked in another way than they are given for.
    """
    check_number("--draws", given.draws, 20, MOST_DRAWS)
    check_number("--seed", given.seed, 0, MAX_INT)
    scale = scale_of(given.scale) if given.scale else None
    asked = (given.isolated, given.together, given.reversed)
    names = {way: name for way, name in zip(WAYS, asked, strict=True) if name is not None}
    for flag in ("pool", "rules", "scale"):
        if getattr(given, flag) and all(Path(os.path.expanduser(name)).is_dir() for name in names.values()):
            raise InputError("has no effect: runs say it themselves", where=f"--{flag}", fix="leave it out")
    asked = RuleNames(tuple(list_items(given.rules)), "--rules=")
    ways = {way: read_way(name, given.pool, scale, asked) for way, name in names.items()}
    check_ways(ways)
    found = side_by_side({way: one.rated for way, one in ways.items()}, names)
    told = halo_of(found, draws=given.draws, seed=given.seed).to_json()
    for line in dict.fromkeys(line for one in ways.values() for line in one.columns):
        print(one_line(line))
    print(halo_text(told | described(ways)))
    for way, count in found.left_out.items():
        if count:
            print(f"{one_line(names[way])}: {count} of its responses left out, which not all of these have rated")


def described(ways: dict[str, Way]) -> dict[str, Any]:
    """Who rated, as the table's head says it; of files their names."""
    first, together = ways["isolated"], ways["together"]
    if first.summary is None:
        return {"judge": f"{first.name} and {together.name}", "label": "ratings", "rules_per_call": None}
    return {
        "judge": first.summary.identity.model,
        "label": first.summary.label,
        "rules_per_call": together.rules_per_call,
    }


def read_way(given: str, pool: str, scale: Scale | None, asked: RuleNames = AUTOMATIC) -> Way:
    """The ratings of a run, a folder or a file.

    Raises:
      InputError: it is none of these, holds scores, or is not whole.
    """
    path, summary = Path(os.path.expanduser(given)), None
    if path.is_dir():
        run = rating_run(path)
        path, pool, scale = run.rated or run.comparisons, str(run.pool), UNIT
    if not path.is_file():
        raise no_such_file(path)
    if path.suffix == ".npz" or is_scored(path):
        raise InputError("holds scores of a model, and no ratings", where=given, fix="give ratings by a judge")
    with reading_stage(path.parent):
        if path.name in OWN and (path.parent / SUMMARY).is_file():
            summary = read_json(path.parent / SUMMARY, Summary, fix=FIX)
        notes: list[str] = []
        rules, columns = _rules(path, pool, asked)
        rated = list(scaled(_read(path, rules, scale, notes), path, "--scale=LOWEST,HIGHEST"))
    words = next((note for note in notes if note.startswith("scale ")), f"scale {UNIT[0]:g} to {UNIT[1]:g}")
    words = words.removeprefix("scale ").partition(", inferred")[0].partition(", as given")[0]
    own = rules if path.with_name("pool.yaml").is_file() else None
    return Way(given, [one for one in rated if one.mask.any()], rules, own, words, summary, columns)


def _read(path: Path, rules: RulePool, scale: Scale | None, notes: list[str]) -> Iterator[RatedResponse]:
    yield from read_rated(path, rules, scale, notes)


def _rules(path: Path, pool: str, asked: RuleNames) -> tuple[RulePool, tuple[str, ...]]:
    """The pool that is named or lies beside the file, or the columns of a table, and what to know of these."""
    if pool or pool_beside(path):
        check_not_both(pool, asked)
        return rules_of(path, pool, "--"), ()
    if shape_of(path) != "table":
        check_of_table(path, asked)
        return rules_of(path, pool, "--"), ()
    table = read_rating_table(path, rules=asked)
    return RulePool(tuple(Rule(rule, rule) for rule in table.rules)), table.columns


def check_ways(ways: dict[str, Way]) -> None:
    """Raises InputError where differences would not be those of calls: another judge, scale or way of asking."""
    first, together, back = (ways.get(way) for way in WAYS)
    paths: set[str] = set()
    for one in ways.values():
        path = os.path.realpath(os.path.expanduser(one.name))
        if path in paths:
            raise InputError("is given twice", where=one.name, fix="give another run for each way of asking")
        paths.add(path)
    if first.rules_per_call not in (None, ISOLATED):
        fix = "give the run that asked about each rule by itself first, and the one with calls second"
        raise InputError("asked about several rules in a call", where=first.name, fix=fix)
    for one in (together, back):
        if one is not None and one.rules_per_call == ISOLATED:
            fix = "rate with --config.judge.rules_per_call=0 in another --workdir, and give that run here"
            raise InputError("asked about every rule by itself", where=one.name, fix=fix)
    for one in (together, back):
        if one is None:
            continue
        if first.summary and one.summary and _judge(first) != _judge(one):
            problem = f"was rated by {_judge(one)}, and {first.name} by {_judge(first)}"
            raise InputError(problem, where=one.name, fix="let one judge rate in every way")
        if first.scale != one.scale:
            problem = f"has ratings from {one.scale}, and {first.name} from {first.scale}"
            raise InputError(problem, where=one.name, fix="give the judge's: --scale=LOWEST,HIGHEST")
        if first.pool and one.pool:
            _check_words(first, one)
        _check_directions(first, one)
    if back is None:
        return
    sizes = [one.rules_per_call for one in (back, together)]
    if None not in sizes and sizes[0] != sizes[1]:
        problem = f"asked about {sizes[0] or 'all'} rules in a call, and {together.name} about {sizes[1] or 'all'}"
        raise InputError(problem, where=back.name, fix="ask with one --config.judge.rules_per_call")
    if together.pool and back.pool and len(back.pool) > 1 and together.pool.names == back.pool.names:
        fix = "rate with a pool whose rules stand in the reversed order, or leave --reversed out"
        raise InputError(f"asked in the same order as {together.name}", where=back.name, fix=fix)


def _judge(one: Way) -> str:
    return one.summary.identity.model


def _check_words(first: Way, other: Way) -> None:
    """Raises InputError for a rule of two texts or directions; other names are told by `side_by_side`."""
    for rule in other.pool:
        if rule.name in first.pool.names and rule != first.pool[rule.name]:
            problem = f"rule {rule.name!r} has other words or another direction than in {first.name}"
            raise InputError(problem, where=other.name, fix="ask about one pool each time")


def _check_directions(first: Way, other: Way) -> None:
    """Raises InputError for a rule of which a higher rating means better in one and worse in the other."""
    for rule in other.read:
        if rule.name in first.read.names and rule.direction != first.read[rule.name].direction:
            problem = f"rule {rule.name!r} is read in another direction than in {first.name}"
            raise InputError(problem, where=other.name, fix="give --pool=RULES, the pool that was asked about")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isolated", metavar="ISOLATED", help="a run that asked about every rule by itself, or its file")
    parser.add_argument("together", metavar="TOGETHER", help="one that asked about several rules in a call")
    parser.add_argument("--reversed", metavar="REVERSED", help="one that asked so about the rules in reversed order")
    parser.add_argument("--pool", default="", help="of files: YAML file or shipped name of the rules")
    parser.add_argument("--rules", default="", help=RULES_HELP)
    parser.add_argument("--scale", help="of files: lowest and highest possible rating, e.g. 1,5; inferred if left out")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"bootstrap draws over prompts; {DRAWS} by default")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(parse, main)
