"""The published formats of comparisons by name, and the reader of each, which is loaded when its format is read."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

FORMATS: Mapping[str, str] = {
    "arena": "encore_jax.data.readers.arena.read_arena",
    "encore": "encore_jax.data.jsonl.iter_comparisons",
    "helpsteer_pairs": "encore_jax.data.readers.helpsteer_pairs.read_helpsteer_pairs",
    "hh_rlhf": "encore_jax.data.readers.hh_rlhf.read_hh_rlhf",
    "pairs": "encore_jax.data.readers.pairs.read_pairs",
    "pku_saferlhf": "encore_jax.data.readers.pku_saferlhf.read_pku_saferlhf",
    "rewardbench": "encore_jax.data.readers.rewardbench.read_rewardbench",
    "rewardbench2": "encore_jax.data.readers.rewardbench2.read_rewardbench2",
    "rm_bench": "encore_jax.data.readers.rm_bench.read_rm_bench",
}
"""The formats of `read_comparisons`, and where their readers are defined."""
TABLE = "table"
"""Stands for tables of two responses in a row, which have no format of their own."""
_TABLES = "encore_jax.data.readers.table.read_table_of_pairs"


def reader_of(format: str) -> Callable[..., Iterator]:
    """The function that reads files of a format: one of `FORMATS`, or `TABLE`.

    >>> reader_of("arena").__name__
    'read_arena'
    """
    module, _, name = (_TABLES if format == TABLE else FORMATS[format]).rpartition(".")
    return getattr(importlib.import_module(module), name)
