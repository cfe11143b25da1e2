"""Rule heads, and as much of the backbone as one likes, trained by gradient on ratings in memory.

Letters: R rated responses, D features, K rules.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints.huggingface import load_config
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.recipes.config import TrainConfig
from encore_jax.reward.passport import Passport
from encore_jax.reward.rated_rows import RatedRows
from encore_jax.reward.sequences import prompt_trees
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, fine_tune
from encore_jax.train.settings import TrainSettings

KEPT_HOW = ("save_every", "keep", "keep_best", "watch", "use", "remat", "attention")
"""Settings that the result does not depend on, up to rounding."""


class Tuned(NamedTuple):
    """A trained model.

    Attributes:
      cfg, params: the backbone, in the dtype that it is to be used in.
      kernel, bias: heads ``[D, K]``, ``[K]``.
      scores: ``[R, K]`` of the responses that were trained on, by these very heads; NaN of the others.
      digest: tells a backbone that was trained from others; "" where it is the one that training started from.
    """

    cfg: Any
    params: Any
    kernel: np.ndarray
    bias: np.ndarray
    scores: np.ndarray
    digest: str


class Rows(NamedTuple):
    """Rated responses as training takes them.

    Attributes:
      rows: the ratings.
      sequences: token ids; None where the chat template refuses a text.
      usable: bool ``[R]``.
    """

    rows: RatedRows
    sequences: Sequence[np.ndarray | None]
    usable: np.ndarray

    def trees(self, length: int) -> list:
        """Prefix trees of the usable responses; their keys are rows."""
        return prompt_trees(self.rows.texts, self.sequences, length, np.flatnonzero(self.usable).tolist())

    @property
    def targets(self) -> Targets:
        """The ratings, by row."""
        return Targets(self.rows.ratings, self.rows.mask, names=self.rows.names)


def tune(
    model: Path,
    data: Rows,
    held_out: Rows | None,
    settings: TrainSettings,
    *,
    mesh: MeshSettings | None,
    dtype: str,
    seed: int,
    checkpoints: str | Path | None,
    passport: Passport,
) -> Tuned:
    """Regression of all heads on the ratings, by `encore_jax.train.fine_tune.fine_tune`.

    Args:
      model: the backbone's files.
      data: what is trained on.
      held_out: what metrics are computed on meanwhile.
      settings: how it is trained; checked by `check_settings`.
      mesh: how all devices share the work; the first device alone if left out.
      dtype: of computation, and of the backbone that comes out.
      seed: of fresh heads and of the order of the data.
      checkpoints: folder from which a call that was ended goes on; a temporary one if left out.
      passport: what the result depends on besides the settings.

    Raises:
      InputError: see `fine_tune`; or no response fits a row.
    """
    rows = data.rows
    known = rows.mask & data.usable[:, None]
    task = Task(
        trees=data.trees(settings.length),
        targets=data.targets,
        watched=held_out.trees(settings.length)[: settings.watch] if held_out else [],
        watched_targets=held_out.targets if held_out else data.targets,
        weights=np.full(len(rows.rules), 1 / len(rows.rules), np.float32),
        bias=((rows.ratings * known).sum(0) / known.sum(0)).astype(np.float32),
    )
    identity = passport.to_dict() | {"train": _identity(settings), "seed": seed}
    devices = make_mesh(MeshSettings(), jax.local_devices()[:1]) if mesh is None else make_mesh(mesh)
    with tempfile.TemporaryDirectory(prefix="encore_jax-") as temporary:
        folder = Path(temporary) if checkpoints is None else Path(checkpoints)
        trained = fine_tune(
            load_config(model),
            model,
            task,
            settings,
            mesh=devices,
            dtype=jnp.dtype(dtype),
            seed=seed,
            checkpoints=folder / "checkpoints",
            metrics=folder,
            identity=identity,
        )
        by_key = trained.scores(task.trees, task.targets, "training texts")
    scores = np.full(rows.ratings.shape, np.nan, np.float32)
    for key, values in by_key.items():
        scores[key] = values
    kernel, bias = (np.asarray(part, np.float32) for part in trained.heads)
    plain = jax.device_get(trained.backbone)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.dtype(dtype)), plain)
    digest = "" if settings.trainable == "heads" else tree_digest(params)
    return Tuned(trained.program.cfg, params, kernel, bias, scores, digest)


def tree_digest(params: Any) -> str:
    """SHA-256 over all parameters, in their order.

    >>> tree_digest({"a": np.zeros(2)}) == tree_digest({"a": np.ones(2)})
    False
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    return digest.hexdigest()


def _identity(settings: TrainSettings) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in KEPT_HOW}


def check_settings(settings: TrainSettings, watches: bool) -> None:
    """Refuses settings that cannot be, before a model is loaded.

    Args:
      settings: what `enc.fit` was given.
      watches: whether there is something held out.

    Raises:
      InputError: naming the setting, as in Python.
    """
    if not isinstance(settings, TrainSettings):
        problem = f"is a {type(settings).__name__}"
        raise InputError(problem, where="train", fix="pass encore_jax.TrainSettings(trainable='lora', lr=1e-4)")
    if settings.loss != "regression":
        problem = f"{settings.loss!r} does not learn ratings"
        fix = "use 'regression'; preferences alone are trained by encore run bradley_terry"
        raise InputError(problem, where="train.loss", fix=fix)
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    try:
        TrainConfig(**{name: getattr(settings, name) for name in names}).check()
    except InputError as error:
        raise error.at(error.where.removeprefix("config.")) from None
    if settings.use == "best" and not watches:
        raise InputError("'best' needs something to tell by", where="train.use", fix="pass held_out=COMPARISONS")
