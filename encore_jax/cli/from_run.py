"""`--from=RUN`: a rating run's output as a run's data, whole: its rules, comparisons and ratings."""

from __future__ import annotations

from encore_jax.cli.command import Given, check_once
from encore_jax.data.rating_run import rating_run
from encore_jax.errors import InputError
from encore_jax.recipes.run_config import RunConfig

FIELDS = ("source", "pool", "path", "format", "ratings_path", "ratings_format", "scale")
"""Of `config.data`; they follow from the run."""


def take_from(config: RunConfig, given: Given, folder: str) -> None:
    """Sets the fields of `config.data` that say what is read.

    Args:
      config: not locked yet.
      given: the command line.
      folder: the rating run's work directory.

    Raises:
      InputError: it is none, such a field is given as well, or the configuration reads no such data.
    """
    data = getattr(config, "data", None)
    if any(not hasattr(data, field) for field in FIELDS):
        fix = "leave it out, or give a configuration that reads comparisons, e.g. --config=encore_hh"
        raise InputError("is for runs on comparisons and ratings", where="--from", fix=fix)
    for field in FIELDS:
        check_once(given, "--from", f"data.{field}")
    run = rating_run(folder)
    data.source, data.format, data.ratings_format, data.scale = "files", "encore", "encore", ()
    data.pool, data.path, data.ratings_path = str(run.pool), str(run.comparisons), str(run.rated or "")
