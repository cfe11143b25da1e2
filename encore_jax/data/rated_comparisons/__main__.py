"""Prepares a data set of comparisons and prints what is in it.

    python -m encore_jax.data.rated_comparisons --config=hh_rlhf --path=train.jsonl.gz --data_dir=~/data

The configs are starting points; every other flag replaces one of the config's settings.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from absl import flags

from encore_jax.command_line import one_line_errors, parse_flags
from encore_jax.data.rated_comparisons import CONFIGS, RatedComparisons, prepare
from encore_jax.errors import InputError
from encore_jax.rules.rule import RulePool
from encore_jax.terminal_text import escaped

_CONFIG = flags.DEFINE_enum("config", "files", CONFIGS, "Where the settings start from.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets.")
_OFFLINE = flags.DEFINE_bool("offline", False, "Fetch nothing; use only files that are already here.")
_POOL = flags.DEFINE_string("pool", None, "Rules of the ratings: a shipped pool's name, or a YAML file.")
_SCALE = flags.DEFINE_list("scale", None, "Lowest and highest rating, e.g. 0,4.")
_SETTINGS = [
    flags.DEFINE_string("path", None, "The file: a local path, an hf:// or wheel:// uri."),
    flags.DEFINE_string("revision", None, "Branch, tag or commit of an hf:// path."),
    flags.DEFINE_string("format", None, "The file's format, if its columns do not tell."),
    flags.DEFINE_string("preference", None, "Of PKU-SafeRLHF: safer or better."),
    flags.DEFINE_float("test_fraction", None, "Share of the prompts in the split 'test'."),
    flags.DEFINE_float("validation_fraction", None, "Share of the prompts in the split 'validation'."),
    flags.DEFINE_integer("seed", None, "Of the split."),
]


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        parse_flags(argv, required=("data_dir", "path"))
        changes = {flag.name: flag.value for flag in _SETTINGS if flag.value is not None}
        if _POOL.value is not None:
            is_file = _POOL.value.endswith((".yaml", ".yml"))
            changes["pool"] = RulePool.from_yaml(_POOL.value) if is_file else RulePool.shipped(_POOL.value)
        if _SCALE.value is not None:
            changes["scale"] = _scale(_SCALE.value)
        config = dataclasses.replace(CONFIGS[_CONFIG.value], **changes)
        builder = prepare(config, _DATA_DIR.value, offline=_OFFLINE.value)
        for split in builder.info.splits:
            comparisons = RatedComparisons(builder, split)
            print(f"{split}: {len(comparisons)} comparisons")
        rules = ", ".join(comparisons.pool.names) if comparisons.pool else "none"
        summary = comparisons.metadata["rows"]["summary"]
        print(escaped(f"rules: {rules}\nsource: {summary}\nfolder: {builder.data_dir}", lines=True))


def _scale(texts: list[str]) -> tuple[float, ...]:
    try:
        low, high = map(float, texts)
    except ValueError:
        raise InputError(f"{','.join(texts)} is not a scale", where="--scale", fix="write --scale=0,4") from None
    return low, high


if __name__ == "__main__":
    main(sys.argv)
