"""Which rules can be trusted, with and without labels, and which weighting to use: of a file of ratings or scores.

    encore reliability runs/rate_server --out=reliability.html

FILE is one of these, or the work directory of a rating run, whose comparisons are meant:

- view-NAME.npz as a run's score stage writes it; its training comparisons, from which the run's report decides, too;
- the Parquet file that `encore score` writes; rows of one prompt are resampled together where you add a
  column `prompt`, else each counts as a prompt of its own;
- comparisons with ratings (.jsonl, .jsonl.gz, .parquet), as a rating run writes them to WORKDIR/rate/comparisons.jsonl,
  with the rules in pool.yaml beside it, or --pool. A few of them may say which response people prefer, or none;
- rated responses, as a rating run writes them to WORKDIR/rate/rated.jsonl. Those of one prompt are compared with each
  other; if no prompt has two, ratings are taken as they are. extra.quality may say how good a response is;
- a CSV: prompt, response, rule, rating; or prompt, response and a column for every rule; or prompt, response_a,
  response_b, preferred and columns RULE_a, RULE_b; or nothing but a column for every rule. Ratings are numbers,
  "7/10", "80 %", yes or no. Columns that are certainly no rules (ids, row numbers, years) are left out, and doubtful
  ones count; the first lines say which, and --rules decides otherwise. --pool is needed only for rules of which higher
  is worse. Excel's workbooks are not read: save the sheet as CSV UTF-8.

Prints the recommendation, the rules, and which comparisons to label next; --out is the same as a page, which the same
command may make again; a page of other ratings stays unless --overwrite is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore_jax.cli.list_values import list_items
from encore_jax.command_line import Parser, check_number, run_command
from encore_jax.data.input_record import has_input_record, input_record
from encore_jax.data.lock import output_lock
from encore_jax.data.manifest import is_stage, reading_stage
from encore_jax.data.outputs import check_new, check_outputs, check_suffix, local_inputs, new_files
from encore_jax.data.rating_account import account
from encore_jax.data.rating_run import rating_run
from encore_jax.data.rating_shape import pool_beside, shape_of
from encore_jax.data.rows import SUFFIXES
from encore_jax.data.rule_names import RuleNames
from encore_jax.data.scored_rows import Rows, is_scored, no_such_file, read_scored_rows, rules_of
from encore_jax.data.split import group_ids
from encore_jax.data.text_tables import SUFFIXES as TEXT_SUFFIXES
from encore_jax.errors import InputError
from encore_jax.evaluation.decision import (
    MODEL,
    RATINGS,
    SCORES,
    how_for_model,
    how_for_scores,
)
from encore_jax.evaluation.fit_advice import Rated, how_for_ratings, rated_in
from encore_jax.evaluation.label_next import LabelPlace, place_in_run
from encore_jax.evaluation.rating_tables import is_plain, read_table
from encore_jax.evaluation.reliability import Reliability, reliability
from encore_jax.evaluation.reliability_arguments import MOST_DRAWS
from encore_jax.evaluation.results import ratings_entropy
from encore_jax.evaluation.view import View
from encore_jax.json_shape import read_json
from encore_jax.progress import SAY_AFTER, at_work
from encore_jax.report import reliability_page
from encore_jax.report.reliability_tables import reliability_text, what_to_use
from encore_jax.settings import MAX_INT

TABLES = (*SUFFIXES, *TEXT_SUFFIXES)
RULES_HELP = (
    "of a table: columns that are rules, NAME,NAME; or changes of what is chosen: +NAME takes one in, -NAME leaves one "
    "out"
)
OPTIONS = ("tau", "labels", "draws", "seed", "anchor")
"""Arguments of `reliability` that are flags here."""


def main(given: argparse.Namespace) -> None:
    """Reads, measures, prints, writes.

    Raises:
      InputError: a flag or a file that makes no sense, or an output that is an input or somebody else's file.
    """
    for flag, least, most in (("labels", 1, MAX_INT), ("draws", 20, MOST_DRAWS), ("seed", 0, MAX_INT)):
        check_number(f"--{flag}", getattr(given, flag), least, most)
    if not given.tau > 0:
        raise InputError(f"is {given.tau}", where="--tau", fix="give a positive temperature")
    given.file, given.pool = map(os.path.expanduser, (given.file, given.pool))
    given.out = given.out and os.path.expanduser(given.out)
    if Path(given.file).is_dir():
        given.file = str(rating_run(given.file).comparisons)  # with its pool beside it
    path = Path(given.file)
    if not path.is_file():
        raise no_such_file(path)
    if path.suffix == ".npz" or is_scored(path):
        for flag in ("scale", "pool", "rules"):
            if getattr(given, flag):
                problem = "has no effect where FILE holds scores; it is about ratings"
                raise InputError(problem, where=f"--{flag}", fix="leave it out")
    if given.overwrite and given.out is None:
        raise InputError(
            "has no effect without --out", where="--overwrite", fix="leave it out, or give --out=FILE.html"
        )
    scale = scale_of(given.scale) if given.scale else None
    if given.out is None:
        found = measured(given, scale)
        print(_text(found, first(found, path)))
        return
    out = Path(given.out)
    check_suffix(out, (".html",), "--out", "HTML")
    outputs = {"--out": out}
    scored = path.suffix == ".npz" or is_scored(path)  # no rules are read beside scores
    inputs = local_inputs({"FILE": path} | ({} if scored else {"--pool": given.pool or pool_beside(path)}))
    check_outputs(outputs, inputs)
    with output_lock(out):
        record = input_record(inputs)
        again = out.is_file() and not out.is_symlink() and has_input_record(out, record)
        check_new(out, overwrite=given.overwrite or again, flag="--out")  # before anything is measured
        found = measured(given, scale)
        line = first(found, path)
        with new_files(outputs, overwrite=given.overwrite or again) as (file,):
            file.write_text(reliability_page.page(found.reliability, line, record), encoding="utf-8")
    print(f"{_text(found, line)}\n\nReport: {out}")


class Measured(NamedTuple):
    """What a file says.

    Attributes:
      reliability: of its rules.
      counted: where its ratings are, in words; "" of scores.
      rated: the ratings as `encore fit` may be given them; None of scores.
    """

    reliability: Reliability
    counted: str = ""
    rated: Rated | None = None


def _text(found: Measured, line: str) -> str:
    text = reliability_text(found.reliability, line)
    return f"{text}\n\n{found.counted}" if found.counted else text


def first(measured: Measured, path: Path) -> str:
    """What to use, what that is about, and the command that does it."""
    found = measured.reliability
    use = "" if found.worse_than_chance else found.recommended
    if path.suffix == ".npz" and path.stem == "view-heads":
        how = how_for_model(use, "", str(path.parent.parent)) if path.parent.name == "score" else ""
        return what_to_use(found, MODEL, how)
    if path.suffix == ".npz" and path.stem != "view-ratings" or is_scored(path):
        return what_to_use(found, SCORES, "" if path.suffix == ".npz" else how_for_scores(use))
    return what_to_use(found, RATINGS, "" if measured.rated is None else how_for_ratings(use, measured.rated))


def measure(given: argparse.Namespace, scale: tuple[float, float] | None = None) -> Reliability:
    """What the file says of its rules; see `measured`."""
    return measured(given, scale).reliability


def measured(given: argparse.Namespace, scale: tuple[float, float] | None = None) -> Measured:
    """What the file says.

    Raises:
      InputError: see `read_scored_rows` and `reliability`; or the file is of a run that is at work, or whose stages
        are not of one run.
    """
    try:
        with at_work(f"reliability of {given.file}", first=SAY_AFTER), reading_stage(Path(given.file).parent):
            return _measured(given, scale)
    except InputError as error:
        flag = error.where.split(" ")[0]
        if flag == "reliability":
            raise error.at(given.file) from None
        if flag not in OPTIONS:
            raise
        raise error.at(f"--{error.where}") from None


def _measured(given: argparse.Namespace, scale: tuple[float, float] | None) -> Measured:
    options = {name: getattr(given, name) for name in OPTIONS}
    asked = RuleNames(tuple(list_items(given.rules)), "--rules=")
    path = Path(given.file)
    if path.suffix == ".npz":
        view = View.load(path)
        part = view.train if len(view.train) else view.test
        options |= {"rules": view.rules, "entropy": ratings_entropy(view)}
        return Measured(reliability(part.scores, part.preferred, prompt=part.cluster, **options))
    if not is_scored(path) and path.name.lower().endswith(TABLES) and is_plain(path):
        pool = rules_of(path, given.pool, "--") if given.pool else None
        table = read_table(path, pool, {}, scale, asked)
        found, told = (
            table.arguments,
            account(int(table.arguments["where"].sum()), {}, table.arguments["where"], responses=False),
        )
        own = {"columns": table.columns, "label_place": table.label_place}
        return Measured(dataclasses.replace(reliability(**found, **options), **own), told, rated_in(path, None))
    rows = read_scored_rows(path, given.pool, scale, "--", asked)
    options |= {"rules": rows.rules, "ids": rows.ids, "texts": rows.texts}
    if len(rows.sizes) and (rows.sizes == 1).all():  # nothing to compare
        where, prompt = np.isfinite(rows.values), group_ids(rows.prompt)
        quality = None if rows.quality is None or np.isnan(rows.quality).all() else rows.quality
        found = reliability(rows.values, quality=quality, where=where, prompt=prompt, **options)
    else:
        values, where = padded(rows)
        found = reliability(values, rows.preferred, where=where, prompt=group_ids(rows.prompt), **options)
    found = dataclasses.replace(found, columns=rows.columns, label_place=_label_place(path, rows))
    return Measured(found, account(rows.given, rows.lost, where), _rated(given, path, rows))


def _label_place(path: Path, rows: Rows) -> LabelPlace:
    """Where the labels of a file's comparisons or responses go; a run's own file stays as it is."""
    run = path.parent.parent
    if is_stage(path.parent) and (run / "config.json").is_file():
        data = read_json(run / "config.json", dict[str, object]).get("data")
        return place_in_run(data if isinstance(data, dict) else {}, str(run), single=rows.quality is not None)
    if is_scored(path):
        return LabelPlace("index", str(path))
    compared, table = rows.quality is None, shape_of(path) == "table"
    return LabelPlace(
        ("side" if compared else "quality") if table else "index" if compared else "extra.quality", str(path)
    )


def _rated(given: argparse.Namespace, path: Path, rows: Rows) -> Rated:
    """The ratings, as `encore fit` is given them: with the pool, rules and scale that this command was given."""
    flags = {"pool": given.pool, "rules": given.rules, "scale": given.scale}
    return rated_in(path, rows, [f"--config.data.{name}={value}" for name, value in flags.items() if value])


def padded(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Values ``[N, n, K]`` and which of them exist; n is the largest number of responses, at least 2."""
    most, place = max(2, int(rows.sizes.max(initial=2))), np.arange(rows.sizes.sum())
    of_row = np.repeat(np.arange(len(rows.sizes)), rows.sizes)
    place -= np.repeat(np.cumsum(rows.sizes) - rows.sizes, rows.sizes)
    values = np.full((len(rows.sizes), most, len(rows.rules)), np.nan)
    values[of_row, place] = rows.values
    return values, np.isfinite(values)


def scale_of(text: str) -> tuple[float, float]:
    """Lowest and highest rating, as ``--scale=1,5`` says them; raises InputError for what is no scale."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        fix = "give lowest and highest rating, e.g. --scale=1,5"
        raise InputError(f"{text!r} is no scale", where="--scale", fix=fix)
    return low, high


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", help="ratings or scores of comparisons, or a rating run's folder")
    parser.add_argument("--pool", default="", help="YAML file or shipped name of the rules; pool.yaml beside FILE")
    parser.add_argument("--rules", default="", help=RULES_HELP)
    parser.add_argument("--scale", help="lowest and highest possible rating, e.g. 1,5; inferred if left out")
    parser.add_argument("--anchor", help="a rule that is known to be about quality, should the pool split")
    parser.add_argument("--tau", type=float, default=2.0, help="temperature of the entropy weights; 2 by default")
    parser.add_argument("--labels", type=int, default=20, help="how many comparisons to label next; 20 by default")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws over prompts; 1000 by default")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--out", help="page to write, a .html file")
    parser.add_argument("--overwrite", action="store_true", help="replace --out though it is of other ratings")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(parse, main)
