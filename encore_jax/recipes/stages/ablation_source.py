"""What an ablation works on: a run's view, a file of the batch scorer, or comparisons with ratings of their responses.

The two last have no split of their own. Their prompts are divided by a hash: ratings (or scores) of the training
prompts give the entropies, and the comparisons of the others are decided. Of n responses, the preferred one makes a
comparison with each of the others.

Letters: T responses, K rules, N comparisons.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import logging

from encore_jax.data.npz import read_npz
from encore_jax.data.split import group_ids, is_test
from encore_jax.errors import InputError
from encore_jax.evaluation.view import Pairs, View
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages.scored_rows import Rows, is_scored, read_scored_rows, rules_of

OF_A_RUN = ("score/view-heads.npz", "rate/comparisons.jsonl")
"""Where a run's scores or ratings lie in its work directory."""


def ablation_view(config: AblateConfig) -> View:
    """The view that the configuration names, or makes of a file of scores or ratings.

    Raises:
      InputError: the file is missing, of another kind, or holds no comparison that can be decided.
    """
    path = scores_file(config)
    if path.suffix == ".npz":
        return View.load(path)
    if config.features and path.is_file():
        raise InputError("belong to a view", where="config.features", fix="give --scores=RUN/score/view-NAME.npz")
    return _view(config, path, read_scored_rows(path, config.pool, config.scale))


def scores_file(config: AblateConfig) -> Path:
    """The file that the configuration names, or that a finished run in the folder which it names has written.

    Raises:
      InputError: the folder holds no scores.
    """
    path = Path(config.scores)
    if not path.is_dir():
        return path
    for name in OF_A_RUN:
        if (path / name).is_file():
            return path / name
    views = ", ".join(sorted(str(found) for found in path.glob("score/view-*.npz")))
    fix = f"give one of {views}" if views else "give the work directory of a run that has scored, or a file of scores"
    raise InputError(f"is a folder without {' or '.join(OF_A_RUN)}", where=str(path), fix=fix)


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
    path = scores_file(config)
    files = {"scores": file_sha256(path)}
    if config.features:
        files["features"] = file_sha256(Path(config.features))
    oriented = path.suffix != ".npz" and not is_scored(path)
    return files | ({"pool": rules_of(path, config.pool).digest} if oriented else {})


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
