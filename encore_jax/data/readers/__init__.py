"""Readers of published data sets, one small module for each native schema."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.jsonl import iter_comparisons
from encore_jax.data.readers.arena import read_arena
from encore_jax.data.readers.helpsteer_pairs import read_helpsteer_pairs
from encore_jax.data.readers.hh_rlhf import read_hh_rlhf
from encore_jax.data.readers.pairs import read_pairs
from encore_jax.data.readers.pku_saferlhf import read_pku_saferlhf
from encore_jax.data.readers.recognition import recognise
from encore_jax.data.readers.rewardbench import read_rewardbench
from encore_jax.data.readers.rewardbench2 import read_rewardbench2
from encore_jax.data.readers.rm_bench import read_rm_bench
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

__all__ = ["FORMATS", "read_comparisons", "recognise"]

FORMATS: Mapping[str, Callable[..., Iterator[Comparison]]] = {
    "arena": read_arena,
    "encore": iter_comparisons,
    "helpsteer_pairs": read_helpsteer_pairs,
    "hh_rlhf": read_hh_rlhf,
    "pairs": read_pairs,
    "pku_saferlhf": read_pku_saferlhf,
    "rewardbench": read_rewardbench,
    "rewardbench2": read_rewardbench2,
    "rm_bench": read_rm_bench,
}
"""The formats of `read_comparisons` and their readers."""


def read_comparisons(
    path: str | Path, format: str = "auto", *, skips: SkipCounter | None = None, **options
) -> Iterator[Comparison]:
    """Streams the comparisons of a file in any of the `FORMATS`.

    Args:
      path: a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file.
      format: a key of `FORMATS`, or "auto" to go by the columns of the first rows.
      skips: counts the rows kept and skipped, and the fields that are not read; print it afterwards. Without one, it is
        logged as a warning at the end wherever something was left out.
      **options: those of the format's reader, e.g. ``pool`` and ``scale`` for "encore",
        ``preference`` for "pku_saferlhf".

    Raises:
      InputError: unknown format or columns (at once), a row that breaks the format, or a file of
        which every row was skipped.
    """
    if format == "auto":
        format = recognise(path)
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}", where=str(path), fix=f"use one of {', '.join(FORMATS)}")
    counter = SkipCounter() if skips is None else skips
    comparisons = FORMATS[format](path, skips=counter, **options)
    return _watched(comparisons, path, counter, report=skips is None)


def _watched(
    comparisons: Iterator[Comparison], path: str | Path, skips: SkipCounter, report: bool
) -> Iterator[Comparison]:
    kept = skips.kept
    yield from comparisons
    if skips.reasons and skips.kept == kept:
        raise InputError(f"not one usable row: {skips}", where=str(path), fix="check the file, or name its format")
    if report and (skips.reasons or skips.unread or skips.notes):
        logging.getLogger(__name__).warning("%s: %s", path, skips)
