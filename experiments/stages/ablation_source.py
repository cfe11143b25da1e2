"""What an ablation works on: a run's view, a file of the batch scorer, or comparisons with ratings of their responses.

The two last have no split of their own. Their prompts are divided by a hash: ratings (or scores) of the training
prompts give the entropies, and the comparisons of the others are decided. Of n responses, the preferred one makes a
comparison with each of the others.

Letters: T responses, K rules, N comparisons.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from encore_jax.data import iter_comparisons, prompt_key
from encore_jax.data.npz import read_npz
from encore_jax.data.orientation import Scale
from encore_jax.data.parquet_rows import column_names, number_columns, record_batches
from encore_jax.data.rows import SUFFIXES
from encore_jax.data.scales import scaled
from encore_jax.data.split import group_ids, is_test
from encore_jax.errors import InputError
from encore_jax.evaluate.view import Pairs, View
from encore_jax.rules import RulePool
from experiments.ablation_config import AblateConfig
from experiments.manifest import file_sha256

SCORE = "score:"
"""What the batch scorer's column of a rule begins with."""
KINDS = "view-NAME.npz of a run's score stage, a Parquet file of experiments.score, or comparisons with ratings"


class Rows(NamedTuple):
    """Rows of a file, one response after the other.

    Attributes:
      rules: K names.
      values: ``[T, K]``, higher is better; NaN where there is none.
      sizes: of every row, how many responses it has.
      preferred: of every row; -1 where nobody chose.
      prompt: key of every row's prompt.
      subset: of every row.
    """

    rules: tuple[str, ...]
    values: np.ndarray
    sizes: np.ndarray
    preferred: np.ndarray
    prompt: list[str]
    subset: np.ndarray


def ablation_view(config: AblateConfig) -> View:
    """The view that the configuration names, or makes of a file of scores or ratings.

    Raises:
      InputError: the file is missing, of another kind, or holds no comparison that can be decided.
    """
    path = Path(config.scores)
    if path.suffix == ".npz":
        return View.load(path)
    if config.features and path.is_file():
        raise InputError("belong to a view", where="config.features", fix="give --scores=RUN/score/view-NAME.npz")
    return _view(config, path, read_scored_rows(path, config.pool, config.scale))


def read_scored_rows(path: Path, pool: str, scale: Scale, option: str = "--config.") -> Rows:
    """Rows of a file of the batch scorer, or of comparisons with ratings.

    Args:
      path: the file.
      pool: of ratings: YAML file or shipped name of the rules; "" for pool.yaml beside the file.
      scale: of ratings, lowest and highest possible.
      option: how flags of pool and scale begin on this command line.

    Raises:
      InputError: the file is missing, of another kind, or holds no comparison.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), fix=f"give {KINDS}")
    if not path.name.endswith(tuple(SUFFIXES)):
        raise InputError("is of no known kind", where=str(path), fix=f"give {KINDS}")
    if pool and is_scored(path):
        raise InputError("has no effect: the file holds scores by rule", where=f"{option}pool", fix="leave it out")
    return _scored(path) if is_scored(path) else _rated(path, _pool(path, pool, option), scale, option)


def read_features(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Features ``[T, D]`` of rated responses and ``[N, 2, D]`` of test comparisons, as a run keeps them.

    Raises:
      InputError: the file is missing or damaged, or holds something else.
    """
    arrays, found = read_npz(path), []
    for name, ndim in (("rated", 2), ("test", 3)):
        array = arrays.get(name, np.zeros(0))
        if array.ndim != ndim or array.dtype.kind != "f" or not np.isfinite(array).all():
            problem = f"array {name!r} holds no finite numbers of {ndim} axes"
            raise InputError(problem, where=path, fix="give the features.npz that stands beside the view")
        found.append(array)
    return found[0], found[1]


def source_digests(config: AblateConfig) -> dict[str, str]:
    """SHA-256 of the files, and of the rules by which ratings are oriented: what results depend on."""
    files = {name: file_sha256(Path(path)) for name in ("scores", "features") if (path := getattr(config, name))}
    path = Path(config.scores)
    oriented = path.suffix != ".npz" and not is_scored(path)
    return files | ({"pool": _pool(path, config.pool).digest} if oriented else {})


def is_scored(path: Path) -> bool:
    """Whether it is a file of the batch scorer."""
    return path.suffix == ".parquet" and any(name.startswith(SCORE) for name in column_names(path))


def _scored(path: Path) -> Rows:
    """Rows of the batch scorer; those with a reason why something is null have no values."""
    names, fix = [name for name in column_names(path) if name.startswith(SCORE)], "score it again"
    table = number_columns(path, [*names, "preferred"])
    lists, preferred = table.select(names), table["preferred"]
    if not all(pa.types.is_list(kind) or pa.types.is_large_list(kind) for kind in lists.schema.types):
        raise InputError("a rule's column holds no lists of scores", where=str(path), fix=fix)
    if not (pa.types.is_integer(preferred.type) or pa.types.is_null(preferred.type)):
        raise InputError(f"preferred holds {preferred.type}, no indices", where=str(path), fix=fix)
    sizes = [pc.fill_null(pc.list_value_length(column), 0).to_numpy() for column in lists.columns]
    if any(not np.array_equal(size, sizes[0]) for size in sizes):
        raise InputError("rules have scores of different numbers of responses", where=str(path), fix=fix)
    values = _numbers_of(path, lists, sizes[0])
    try:
        chosen = pc.fill_null(preferred.cast(pa.int64()), -1).to_numpy()
    except pa.ArrowInvalid as error:  # beyond 64 bits with a sign
        raise InputError(f"preferred holds no indices: {error}", where=str(path), fix=fix) from None
    outside = np.flatnonzero((chosen < -1) | (chosen >= sizes[0]))
    if len(outside):
        row = int(outside[0])
        problem = f"response {chosen[row]} of {sizes[0][row]} is preferred"
        raise InputError(problem, where=f"{path}, row {row + 1}", fix=fix)
    rules = tuple(name.removeprefix(SCORE) for name in names)
    return Rows(rules, values, sizes[0], chosen, _prompts_of(path, len(chosen)), np.full(len(chosen), ""))


def _numbers_of(path: Path, lists: pa.Table, sizes: np.ndarray) -> np.ndarray:
    """Scores ``[T, K]`` of lists by rule, NaN where there is none; says how many are missing, and which come first.

    Raises:
      InputError: a score is infinite.
    """
    flat = [pc.list_flatten(column).cast(pa.float64()) for column in lists.columns]
    null = np.stack([column.is_null().to_numpy() for column in flat], 1)
    values = np.stack([pc.fill_null(column, np.nan).to_numpy() for column in flat], 1)
    row = np.repeat(np.arange(len(sizes)), sizes)
    wrong = {"infinite": np.isinf(values), "NaN": np.isnan(values) & ~null, "null": null}
    said = []
    for what, where in wrong.items():
        if not where.any():
            continue
        t, k = np.argwhere(where)[0]
        at = f"column {lists.column_names[k]!r}, row {row[t] + 1}"
        if what == "infinite":
            fix = "score it again, or write null where there is no score"
            raise InputError(f"a score is {values[t, k]} ({where.sum()} such)", where=f"{path}, {at}", fix=fix)
        said.append(f"{where.sum():,} are {what}, the first in {at}")
    if said:
        logging.warning("%s: of %s scores %s; these count as missing", path, f"{values.size:,}", " and ".join(said))
    return values


def _prompts_of(path: Path, rows: int) -> list[str]:
    """The prompt of every row: of the column ``prompt`` if there is one (the scorer writes none), else its own.

    Raises:
      InputError: a row has no prompt.
    """
    if "prompt" not in column_names(path):
        logging.info("%s has no column prompt: each of %s rows counts as a prompt of its own", path, f"{rows:,}")
        return [str(i) for i in range(rows)]
    keys: list[str] = []
    known: dict[str, str] = {}  # one text for equal prompts
    for batch in record_batches(path, ["prompt"]):
        for value in batch.column(0).to_pylist():
            if value is None or value != value:
                fix = "give every row its prompt, or leave the column out"
                raise InputError("has no prompt", where=f"{path}, row {len(keys) + 1}", fix=fix)
            key = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
            keys.append(known.setdefault(key, key))
    logging.info("%s: %s rows of %s prompts", path, f"{rows:,}", f"{len(known):,}")
    return keys


def _rated(path: Path, pool: RulePool, scale: Scale, option: str) -> Rows:
    """Comparisons with ratings of their responses."""
    values, sizes, preferred, prompt, subset = [], [], [], [], []
    comparisons = iter_comparisons(path, pool=pool, scale=scale)
    for c in scaled(comparisons, path, f"{option}scale=LOWEST,HIGHEST"):
        if c.ratings is None:
            fix = "rate the comparisons first: experiments.run with a judge, or experiments.score with a model"
            raise InputError("has no ratings", where=f"{path}, comparison {c.id}", fix=fix)
        values.append(np.where(c.mask, c.ratings, np.nan))
        sizes.append(len(c.responses))
        preferred.append(-1 if c.preferred is None else c.preferred)
        prompt.append(prompt_key(c.prompt))
        subset.append(c.subset)
    if not values:
        raise InputError("holds no comparison", where=str(path), fix="check the file")
    return Rows(
        tuple(pool.names), np.concatenate(values), np.array(sizes), np.array(preferred), prompt, np.array(subset)
    )


def _pool(path: Path, name: str, option: str = "--config.") -> RulePool:
    beside = path.with_name("pool.yaml")
    if not name and not beside.is_file():
        fix = f"give {option}pool=NAME or FILE.yaml, or put it beside the file as {beside.name}"
        where = f"{option}pool".removeprefix("--") if option == "--config." else f"{option}pool"
        raise InputError("ratings are read by the rules that they are of", where=where, fix=fix)
    name = name or str(beside)
    return RulePool.from_yaml(name) if name.endswith((".yaml", ".yml")) else RulePool.shipped(name)


def _view(config: AblateConfig, path: Path, rows: Rows) -> View:
    cluster = group_ids(rows.prompt)
    tested = is_test(rows.prompt, config.test_fraction, config.seed)
    of_response = np.repeat(np.arange(len(rows.sizes)), rows.sizes)
    better = (np.cumsum(rows.sizes) - rows.sizes + rows.preferred)[of_response]
    worse = np.arange(len(of_response))
    chosen = (rows.preferred[of_response] >= 0) & (worse != better)
    pair = np.stack([better[chosen], worse[chosen]], 1)
    known = np.isfinite(rows.values)
    whole = known.all(1)[pair].all(1)
    row = of_response[pair[:, 1]][whole]
    pair = pair[whole]

    def part(kept: np.ndarray) -> Pairs:
        scores = rows.values[pair[kept]].astype(np.float32)
        return Pairs(scores, np.zeros(len(scores), int), cluster[row[kept]], rows.subset[row[kept]])

    training = known.any(1) & ~tested[of_response]
    (low, high), prompts = config.scale, set(rows.prompt)
    outside = ((rows.values < low) | (rows.values > high)).sum()
    told = (
        f"{len(pair)} pairs of a preferred and another response of {len(rows.sizes)} rows in {path.name}. Left out: "
        f"{(rows.preferred < 0).sum()} rows without a preference, {(~whole).sum()} pairs in which a rule has no value. "
        f"{outside} of {known.sum()} values lie outside {low:g} to {high:g} and count as its ends. {len(prompts)} "
        f"prompts, of which {len(set(cluster[tested]))} are held out; the values of {training.sum()} responses to the "
        "others give the entropies."
    )
    if len(prompts) == len(rows.prompt):
        told += " Every row is a prompt of its own."
    logging.info(told)
    return View(
        name=path.name,
        label=config.label,
        description=told,
        rules=rows.rules,
        ratings=np.nan_to_num(rows.values[training]).astype(np.float32),
        rated=known[training],
        rating_cluster=cluster[of_response[training]],
        train=part(~tested[row]),
        test=part(tested[row]),
    )
