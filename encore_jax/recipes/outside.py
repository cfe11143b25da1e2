"""Files from outside that a stage reads, as arguments: what it depends on are their hashes, wherever they lie.

Nothing is fetched or read before somebody asks.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from encore_jax.data import locate
from encore_jax.data.digest import file_sha256, note, recording
from encore_jax.data.probes import over_refusal_probe, probe_digest
from encore_jax.data.sources import check_local, check_local_file, is_local
from encore_jax.errors import InputError
from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.data_config import AUTO, DataConfig
from encore_jax.recipes.run_config import RunConfig, to_dict
from encore_jax.recipes.sources import rule_pool, source_hashes
from encore_jax.reward.passport import model_digest
from encore_jax.settings import results_depend_on


class Outside:
    """Base: an argument of a stage, for which a hash stands; a property ``given`` is what the function gets of it.

    Attributes:
      reads: fields of configurations that name what it is read from; see `inputs_read`.
    """

    reads: tuple[str, ...] = ()
    is_local = True
    """Whether reading it fetches nothing."""

    def key(self) -> Any:
        """JSON values: what results depend on."""
        raise NotImplementedError

    def check_there(self) -> None:
        """Raises InputError, as reading it would, where what is to lie on this machine does not; fetches nothing."""


def inputs_read(argument: Any) -> tuple[str, ...]:
    """The fields of configurations that say which input an argument of a stage is, or inputs; none for other ones."""
    parts = argument if isinstance(argument, list) else [argument]
    return tuple(dict.fromkeys(field for part in parts for field in getattr(part, "reads", ())))


class Record(Outside):
    """The whole configuration, to be written beside results: the function gets it as plain values.

    Args:
      config: of the run.
    """

    def __init__(self, config: RunConfig):
        self.config = config

    @property
    def given(self) -> dict[str, Any]:
        """All of it."""
        return to_dict(self.config)

    def key(self) -> dict[str, Any]:
        return results_depend_on(self.config)


class Sources(Outside):
    """What comparisons and ratings are read from.

    Args:
      data: the settings.
      rated: whether ratings are read, too.
    """

    reads = ("data.source", "data.path", "data.ratings_path", "data.pool")

    def __init__(self, data: DataConfig, rated: bool = True):
        self.data, self.rated = data, rated

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by role."""
        return source_hashes(self.data, self.rated)

    def key(self) -> dict[str, Any]:
        return {"settings": results_depend_on(self.data)} | self.hashes

    @property
    def is_local(self) -> bool:
        uris = (self.data.path, self.data.ratings_path if self.rated else "")
        return self.data.source == "tfds" or (self.data.source == "files" and all(map(is_local, uris)))

    def check_there(self) -> None:
        if self.data.source == "files":
            for uri in (self.data.path, self.data.ratings_path if self.rated else ""):
                if uri:
                    check_local_file(uri)
        if self.data.pool != AUTO:  # which the ratings say
            rule_pool(self.data)


class ModelFiles(Outside):
    """A checkpoint with its tokenizer; fetched and hashed when first asked for.

    Args:
      model: the settings.
      offline: fetch nothing.
    """

    reads = ("model.path",)

    def __init__(self, model: ModelConfig, offline: bool):
        self.model, self.offline = model, offline

    @property
    def path(self) -> Path:
        """Where it lies, fetched before."""
        return locate(self.model.path, offline=True)

    @property
    def sha256(self) -> str:
        """One hash over all files of the model and its tokenizer."""
        digest, files = self._hashed
        note(files)
        return digest

    @functools.cached_property
    def _hashed(self) -> tuple[str, dict[str, str]]:
        with recording() as files:
            return model_digest(self._located()), files

    def _located(self) -> Path:
        try:
            return locate(self.model.path, offline=self.offline)
        except InputError as error:
            told = "`encore fit` without --config.model.path takes SmolLM2-135M, which needs no hub"
            raise InputError(error.problem, where=error.where, fix=f"{error.fix}; {told}") from None

    def key(self) -> dict[str, Any]:
        return {"settings": results_depend_on(self.model), "weights": self.sha256}

    def check_there(self) -> None:
        check_local(self.model.path)


class Probe(Outside):
    """The over-refusal probe's wording."""

    def key(self) -> str:
        return probe_digest(over_refusal_probe())


class OneFile(Outside):
    """A file.

    Args:
      path: a path or uri; "" is no file.
      offline: fetch nothing.
    """

    reads = ("views",)

    def __init__(self, path: str, offline: bool = False):
        self.uri, self.offline = path, offline

    @property
    def path(self) -> Path:
        """Where it lies."""
        return locate(self.uri, offline=self.offline)

    def key(self) -> str:
        return file_sha256(self.path) if self.uri else ""

    def check_there(self) -> None:
        if self.uri:
            check_local_file(self.uri)


class AdapterRun(Outside):
    """What another run's adapter predicts.

    Args:
      folder: the run's work directory, or the folder of its adapter stage.
    """

    reads = ("adapter_from", "judge.rules_of")

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def key(self) -> dict[str, str]:
        from encore_jax.recipes.stages.predicted_rules import prediction_hashes

        return prediction_hashes(self.folder)

    def check_there(self) -> None:
        check_local(self.folder)
