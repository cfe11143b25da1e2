"""Parts of a long output: chunks that are written one by one, survive a kill, and are merged at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from encore_jax.data.atomic import atomic_path
from encore_jax.errors import InputError

KEY = b"encore_jax"
"""Of what an output depends on, as JSON, in the Parquet file's metadata."""
PARTS = "[0-9]*.parquet"


class Parts:
    """The folder of parts beside a Parquet file that is being made.

    Args:
      output: the file.
      identity: JSON values on which its contents depend; it becomes the file's metadata.
      schema: of the file.
    """

    def __init__(self, output: Path, identity: dict, schema: pa.Schema):
        self.output, self.folder = output, output.with_name(output.name + ".parts")
        self._identity = json.dumps(identity, sort_keys=True)
        self._schema = schema.with_metadata({KEY: self._identity.encode()})

    def complete(self) -> bool:
        """Whether the output exists and is of this identity.

        Raises:
          InputError: something else than a Parquet file is there.
        """
        if not self.output.exists():
            return False
        try:
            return (pq.read_schema(self.output).metadata or {}).get(KEY) == self._identity.encode()
        except (pa.ArrowInvalid, OSError):
            raise InputError(
                "is there already, and no Parquet file", where=str(self.output), fix="name another file, or delete it"
            ) from None

    def claim(self) -> None:
        """Makes the folder, or finds it to be of this very identity.

        Raises:
          InputError: it holds parts of something else.
        """
        note = self.folder / "run.json"
        if note.exists() and note.read_text() == self._identity:
            return
        if note.exists() or any(self.folder.glob(PARTS)):
            raise InputError(
                "holds parts of a run with another model, input or version",
                where=str(self.folder),
                fix="delete it, or run that command to its end",
            )
        with atomic_path(note) as temporary:  # also where a run was killed before it had written this
            temporary.write_text(self._identity)

    def has(self, number: int) -> bool:
        """Whether this part is written."""
        return self._path(number).exists()

    def read(self, number: int) -> pa.Table:
        """A part that is written."""
        return pq.read_table(self._path(number))

    def write(self, number: int, table: pa.Table) -> None:
        """Writes a part, whole or not at all."""
        with atomic_path(self._path(number)) as temporary:
            pq.write_table(table, temporary)

    def merge(self) -> None:
        """Puts the parts together, in order; the output appears whole."""
        merged = self.folder / "merged.parquet"  # here, so that what a kill leaves of it goes with the folder
        with atomic_path(merged) as temporary, pq.ParquetWriter(temporary, self._schema) as writer:
            for path in sorted(self.folder.glob(PARTS)):
                writer.write_table(pq.read_table(path).cast(self._schema))
        os.replace(merged, self.output)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"


def metadata(path: Path) -> dict:
    """What the file depends on, as its maker wrote it down."""
    return json.loads(pq.read_schema(path).metadata[KEY])
