"""A diverse rule pool out of many candidates, by how real responses were rated on them.

    encore select-pool --candidates=candidates.yaml --ratings=rated.jsonl --size=100 --out=pool.yaml

`--ratings` is a file that rates every candidate: rated responses in this project's format, or a table with a column for
every rule (CSV, Parquet, JSON lines); or the work directory of a rating run. Its scale is inferred unless you give it.
`--method=greedy` takes the rules that span the largest volume of ratings, one by one; `--method=kdpp` draws a pool at
random, likelier the larger its volume. Rules that are rated alike on all responses, or constant, cannot get in twice.

Writes the pool, in the candidates' order, and beside it POOL.report.json: each chosen rule's gain, its most correlated
neighbour in the pool, what was left out and which chosen rule it resembles, and rules of nearly the same wording.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import logging

from encore_jax.command_line import Parser, check_number, run_command
from encore_jax.composition.dpp import greedy_map, log_det, rating_gram, sample_kdpp
from encore_jax.data import RatedResponse
from encore_jax.data.lock import output_lock
from encore_jax.data.outputs import check_outputs, check_suffix, local_inputs, new_files
from encore_jax.data.rating_run import rating_run
from encore_jax.data.scales import scaled
from encore_jax.errors import InputError
from encore_jax.judge.table import read_rated
from encore_jax.progress import SAY_AFTER, at_work
from encore_jax.rules import RulePool
from encore_jax.rules.overlap import near_duplicates
from encore_jax.settings import MAX_INT


@at_work("select-pool", first=SAY_AFTER)
def main(given: argparse.Namespace) -> None:
    """Reads, selects, writes.

    Raises:
      InputError: a flag or a file that makes no sense, or an output that is an input or somebody else's file.
    """
    out = Path(given.out)
    check_suffix(out, (".yaml", ".yml"), "--out", "YAML")
    outputs = {"--out": out, "report of --out": out.with_suffix(".report.json")}
    check_outputs(outputs, local_inputs({"--candidates": given.candidates, "--ratings": given.ratings}))
    check_number("--size", given.size, 1, MAX_INT)
    if given.seed is not None:
        check_number("--seed", given.seed, 0, MAX_INT)
        if given.method == "greedy":
            raise InputError("greedy draws nothing", where="--seed", fix="leave it out, or give --method=kdpp")
    scale = None if given.scale is None else _scale(given.scale)
    if Path(given.ratings).is_dir():
        run = rating_run(given.ratings)
        given.ratings = str(run.rated or run.comparisons)
    with contextlib.ExitStack() as stack:
        for path in outputs.values():
            stack.enter_context(output_lock(path))
        candidates = RulePool.from_yaml(given.candidates)
        ratings, mask = read(given.ratings, candidates, scale)
        chosen, report = select(candidates, ratings, mask, given.size, given.method, given.seed or 0)
        pool = RulePool(chosen, name=given.name or out.stem)
        with new_files(outputs, overwrite=given.overwrite) as (chosen_pool, reported):
            pool.to_yaml(chosen_pool)
            reported.write_text(json.dumps(report, indent=1))
    logging.info(
        "%d of %d rules, log det %.2f (%d first ones: %.2f); %d pairs of similar wording among them",
        len(pool), len(candidates), report["log_det"], len(pool), report["log_det_of_first"], len(report["wording"]),
    )  # fmt: skip


def _scale(given: Sequence[float | str]) -> tuple[float, float]:
    """Lowest and highest rating, as ``1,5`` or as two words."""
    try:
        low, high = (float(part) for part in ",".join(map(str, given)).split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        fix = "give lowest and highest rating, e.g. --scale=1,5"
        raise InputError("is no scale", where=f"--scale {' '.join(map(str, given))}", fix=fix)
    return low, high


def read(path: str, candidates: RulePool, scale: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Ratings ``[N, M]`` and mask of all rated responses.

    Args:
      path: a file of rated responses, or a table of ratings.
      candidates: the rules.
      scale: lowest and highest rating; inferred, and said, if left out.

    Raises:
      InputError: there is none, or a candidate has fewer than two ratings.
    """

    def rated() -> Iterator[RatedResponse]:
        yield from read_rated(path, candidates, scale)

    records = list(scaled(rated(), path, "--scale=LOWEST,HIGHEST"))
    if not records:
        raise InputError("holds no rated response", where=path, fix="rate some responses on all candidates")
    mask = np.stack([record.mask for record in records])
    for k in np.flatnonzero(mask.sum(0) < 2):
        raise InputError(f"rule {candidates[int(k)].name!r} has fewer than 2 ratings", where=path, fix="rate it")
    return np.stack([record.ratings for record in records]), mask


def select(candidates: RulePool, ratings: np.ndarray, mask: np.ndarray, size: int, method: str, seed: int):
    """The chosen rules in the candidates' order, and the report."""
    gram = rating_gram(ratings, mask)
    if method == "greedy":
        order, gains = (np.asarray(x) for x in greedy_map(gram, size))
    else:
        order = np.asarray(sample_kdpp(gram, size, jax.random.key(seed)))
        gains = None
    kept, names = np.sort(order), candidates.names
    chosen = tuple(candidates[int(k)] for k in kept)
    report = {
        "method": method, "seed": seed, "responses": len(ratings), "candidates": len(candidates), "size": size,
        "label": "a property of the ratings, whoever gave them",
        "log_det": float(log_det(gram, kept)), "log_det_of_first": float(log_det(gram, np.arange(size))),
        "gains": {} if gains is None else {names[k]: float(g) for k, g in zip(order, gains, strict=True)},
        "neighbours": neighbours(np.asarray(gram), kept, kept, names),
        "left_out": neighbours(np.asarray(gram), np.setdiff1d(np.arange(len(names)), kept), kept, names),
        "wording": [pair._asdict() for pair in near_duplicates(chosen)],
    }  # fmt: skip
    return chosen, report


def neighbours(gram: np.ndarray, rows: np.ndarray, columns: np.ndarray, names) -> dict[str, dict]:
    """For each of the rows' rules the other rule among the columns' whose ratings correlate most, in size."""
    found = {}
    for k in rows:
        others = columns[columns != k]
        if others.size:
            nearest = others[np.abs(gram[k, others]).argmax()]
            found[names[k]] = {"rule": names[nearest], "correlation": float(gram[k, nearest])}
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's flags."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", required=True, help="rule pool (YAML)")
    parser.add_argument(
        "--ratings", required=True, help="rated responses, a table of ratings, or a rating run's folder"
    )
    parser.add_argument(
        "--scale", nargs="+", metavar="LOWEST,HIGHEST", help="lowest and highest rating, e.g. 1,5; inferred if left out"
    )
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--method", choices=("greedy", "kdpp"), default="greedy")
    parser.add_argument("--seed", type=int, help="of kdpp, 0 if left out")
    parser.add_argument("--name", default="", help="of the pool; the file's name if left out")
    parser.add_argument("--out", required=True, help="YAML file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace other files that lie where the outputs go")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(parse, main)
