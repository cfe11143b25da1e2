"""The TFDS builder. Use `prepare`, which gives each setting its own folder and redoes what is broken."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds
from array_record.python import array_record_module

from encore_jax.data.rated_comparisons.config import CONFIGS
from encore_jax.data.rated_comparisons.examples import features, to_example
from encore_jax.data.rated_comparisons.source import SPLITS, Source
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError


@dataclasses.dataclass(eq=False)
class BuilderConfig(tfds.core.BuilderConfig):
    """TFDS's view of a source; without one it only says that such a config exists."""

    source: Source | None = None


class LocalInfo(tfds.core.DatasetInfo):
    """Looks for nothing in TFDS's bucket, where TFDS would also leave a temporary folder behind."""

    def initialize_from_bucket(self) -> None:
        pass


class Builder(tfds.core.GeneratorBasedBuilder):
    """Comparisons with ratings: prompt, n responses, the preferred one, ratings ``[n, K]``.

    The order is the file's; shuffling is left to the loader.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = [BuilderConfig(name=name) for name in CONFIGS]
    EXAMPLES_PER_SHARD = 65_536
    url_infos = None  # TFDS would look for checksums of downloads, by way of a package that it does not require

    def __init__(self, **kwargs):
        super().__init__(**(kwargs | {"file_format": tfds.core.FileFormat.ARRAY_RECORD}))

    def _info(self) -> tfds.core.DatasetInfo:
        return LocalInfo(
            builder=self,
            description="Prompts with two or more responses, which one is preferred, and ratings of each on a pool of "
            "rules (higher is better). metadata.json names the source, the pool, the split and what was skipped.",
            features=features(len(self._rules)),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator[tuple[int, dict]]]:
        """Reads the file once to count, so that wrong input shows before anything is written."""
        source = self.builder_config.source
        if source is None:
            raise InputError(
                "this config names no file",
                where=f"data set {self.builder_config.name!r}",
                fix="use encore_jax.data.rated_comparisons.prepare with a path",
            )
        skips = SkipCounter()
        counts = collections.Counter(source.split_of(comparison) for comparison in source.comparisons(skips))
        if not counts:
            raise InputError(f"not one usable row: {skips}", where=str(source.file), fix="check the file's format")
        comparisons = {split: counts[split] for split in SPLITS if counts[split]}
        self.info.metadata.update(source.metadata() | {"rows": _rows(skips), "comparisons": comparisons})
        return {split: self._generate_examples(split) for split in comparisons}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        source = self.builder_config.source
        numbered = enumerate(source.comparisons(SkipCounter()))
        return ((i, to_example(c, self._rules)) for i, c in numbered if source.split_of(c) == split)

    def _generate_splits(self, dl_manager, download_config) -> list[tfds.core.SplitInfo]:
        """Streams each split straight into its shards.

        TFDS's own writer keeps a split in memory, and from 1 GB on asks TensorFlow for temporary files.
        """
        generators = self._split_generators(dl_manager)
        counts = self.info.metadata["comparisons"]
        return [self._write(split, counts[split], examples) for split, examples in generators.items()]

    def _write(self, split: str, count: int, examples: Iterable[tuple[int, dict]]) -> tfds.core.SplitInfo:
        shards = -(-count // self.EXAMPLES_PER_SHARD)
        template = self._get_filename_template(split)
        lengths, size = [], 0
        examples = iter(examples)
        for i in range(shards):
            path = template.sharded_filepath(shard_index=i, num_shards=shards)
            writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
            lengths.append(0)
            for _, example in itertools.islice(examples, self.EXAMPLES_PER_SHARD):
                record = self.info.features.serialize_example(example)
                writer.write(record)
                lengths[-1], size = lengths[-1] + 1, size + len(record)
            try:
                writer.close()
            except RuntimeError as error:  # array_record's, e.g. for a full disk
                raise InputError(f"cannot be written: {error}", where=str(path), fix="make room for it") from None
        return tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template)

    @property
    def _rules(self) -> tuple[str, ...]:
        source = self.builder_config.source
        return source.config.pool.names if source and source.config.pool else ()

    def _create_builder_config(self, builder_config, version):
        """As in TFDS, without its warning that a config is not among the predefined ones."""
        if isinstance(builder_config, BuilderConfig) and builder_config.source:
            return builder_config
        return super()._create_builder_config(builder_config, version)

    def _log_download_bytes(self) -> None:
        """TFDS would print here, and nothing is downloaded."""

    def _log_download_done(self) -> None:
        """TFDS would print here; `prepare` logs."""


def _rows(skips: SkipCounter) -> dict[str, object]:
    """What became of the file's rows, as JSON values."""
    return {
        "kept": skips.kept,
        "skipped": skips.skipped,
        "reasons": skips.reasons,
        "first": skips.first,
        "unread": skips.unread,
        "summary": str(skips),
    }
