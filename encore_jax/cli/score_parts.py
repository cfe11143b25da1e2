"""Parts of a long output: chunks that are written one by one, survive a kill, and are merged at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.outputs import check_new
from encore_jax.data.parquet_rows import file_metadata, record_batches
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json, read_bytes
from encore_jax.terminal_text import one_line

KEY, PART_KEY = b"encore_jax", b"encore_jax part"
"""Of what an output depends on, as JSON, in the Parquet file's metadata; and which part of it this is."""
PARTS, NOTE = ".parts", "run.json"
FIX = "delete it, or run that command to its end"


class Parts:
    """The folder of parts beside a Parquet file that is being made.

    Args:
      output: the file.
      identity: JSON values on which its contents depend; it becomes the file's metadata.
      schema: of the file.
    """

    def __init__(self, output: Path, identity: dict, schema: pa.Schema):
        self.output, self.folder = output, output.with_name(output.name + PARTS)
        self._identity = json.dumps(identity, sort_keys=True)
        self._schema = schema.with_metadata({KEY: self._identity.encode()})

    def is_complete(self, overwrite: bool = False) -> bool:
        """Whether the output exists and is of this identity.

        Raises:
          InputError: something else is there, and must not be overwritten.
        """
        if not os.path.lexists(self.output):
            return False
        check_new(self.output, overwrite=True)
        problem = "is there already, and no Parquet file"
        try:
            known = (file_metadata(self.output).metadata or {}).get(KEY)
            if known == self._identity.encode():
                return True
            problem = "is there already, and holds no scores of this command"
            problem = f"holds other scores: {self._difference(known)}" if known else problem
        except InputError:
            pass
        if overwrite:
            return False
        raise InputError(problem, where=str(self.output), fix="name another file, or give --overwrite to replace it")

    def claim(self) -> None:
        """Makes the folder, or finds it to be of exactly this identity.

        Raises:
          InputError: it holds parts of something else.
        """
        make_folder(self.folder, fix="move it away")
        if self._is_ours():
            return
        if any(path.name == NOTE or not path.name.startswith(".") for path in self.folder.iterdir()):
            told = self._difference(self._noted() or b"")
            raise InputError(f"holds parts of another run: {told}", where=str(self.folder), fix=FIX)
        with atomic_path(self.folder / NOTE) as temporary:  # also where a run was killed before it had written this
            temporary.write_text(self._identity)

    def _difference(self, known: bytes) -> str:
        try:
            return difference(decode_json(known, dict[str, object], where=str(self.output)), json.loads(self._identity))
        except InputError:
            return "they do not say of what"

    def _is_ours(self) -> bool:
        return self._noted() == self._identity.encode()

    def _noted(self) -> bytes | None:
        try:
            return read_bytes(self.folder / NOTE)
        except InputError:
            return None

    def has(self, number: int, rows: int) -> bool:
        """Whether this part is written, by this run, and has so many rows."""
        try:
            found = file_metadata(self._path(number))
        except InputError:
            return False
        return found.num_rows == rows and (found.metadata or {}).get(PART_KEY) == self._part(number)

    def read(self, number: int) -> pa.Table:
        """A part that is written.

        Raises:
          InputError: it is damaged.
        """
        path, schema = self._path(number), self._schema.with_metadata({PART_KEY: self._part(number)})
        try:
            return pa.Table.from_batches(record_batches(path), schema)
        except pa.ArrowException as error:
            raise InputError(f"is damaged: {one_line(str(error))}", where=str(path), fix="delete it") from None

    def write(self, number: int, table: pa.Table) -> None:
        """Writes a part, whole or not at all."""
        with atomic_path(self._path(number)) as temporary:
            pq.write_table(table.replace_schema_metadata({PART_KEY: self._part(number)}), temporary)

    def merge(self, rows: Sequence[int]) -> None:
        """Puts the parts together, in order; the output appears whole.

        Args:
          rows: of every part that the output consists of.

        Raises:
          InputError: a part is missing, damaged, of another run or length, or there are more of them.
        """
        present = {path.name for path in self.folder.glob("[0-9]*.parquet")}
        if more := sorted(present - {self._path(number).name for number in range(len(rows))}):
            raise InputError(f"holds parts of something else: {', '.join(more)}", where=str(self.folder), fix=FIX)
        merged = self.folder / "merged.parquet"  # here, so that what a kill leaves of it goes with the folder
        with atomic_path(merged) as temporary, pq.ParquetWriter(temporary, self._schema) as writer:
            for number, count in enumerate(rows):
                if not self.has(number, count):
                    problem = f"is missing, or is not the part of {count} rows that was written"
                    raise InputError(problem, where=str(self._path(number)), fix="run the same command again")
                writer.write_table(self.read(number).cast(self._schema))
        os.replace(merged, self.output)

    def remove(self) -> None:
        """Removes the folder, if it is this run's."""
        if self._is_ours():
            shutil.rmtree(self.folder, ignore_errors=True)
        elif self.folder.exists():
            logging.warning("%s: left alone, it holds parts of another run", self.folder)

    def _part(self, number: int) -> bytes:
        return f"{number} of {self._identity}".encode()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"


def difference(there: dict, here: dict) -> str:
    """In which of the things that scores depend on two outputs differ, in words.

    >>> here = {"input_sha256": "a", "versions": {"jax": "0.10.2"}, "passport": {"weights": [1], "model": "m"}}
    >>> print(difference({"input_sha256": "b", "versions": {"jax": "0.10.1"}, "passport": {"model": "m"}}, here))
    the input is another; jax 0.10.1, now 0.10.2; the model is another (weights)
    """
    differ = {name for name in there.keys() | here.keys() if there.get(name) != here.get(name)}
    words = ["the input is another"] if "input_sha256" in differ else []
    words += [f"read as {there.get('format')}, now as {here.get('format')}"] if "format" in differ else []
    if "versions" in differ:
        before, now = (part.get("versions") for part in (there, here))
        before, now = (part if isinstance(part, dict) else {} for part in (before, now))
        names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        words += [f"{name} {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}" for name in names]
    parts = ["heads"] if "heads_sha256" in differ else []
    parts += ["row lengths"] if "buckets" in differ else []
    if "passport" in differ:
        before, now = (part.get("passport") for part in (there, here))
        before, now = (part if isinstance(part, dict) else {} for part in (before, now))
        parts += sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    words += [f"the model is another ({', '.join(parts)})"] if parts else []
    known = {"input_sha256", "format", "versions", "heads_sha256", "buckets", "passport"}
    return one_line("; ".join([*words, *sorted(differ - known)]))


def metadata(path: Path) -> dict:
    """What the file depends on, as its maker wrote it down.

    Raises:
      InputError: nobody wrote it down.
    """
    known = (file_metadata(path).metadata or {}).get(KEY, b"")
    return decode_json(known, dict[str, object], where=f"{path}, metadata", fix="score the file again")
