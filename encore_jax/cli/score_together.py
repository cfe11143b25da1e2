"""Chunks of a file shared out to the processes of a pod; process 0 puts what they find into the parts, in order.

Round by round every process scores one chunk that is not done, and sends what it has found to process 0, which alone
writes. So nothing is written twice, a process that is lost costs the chunks of one round, and the next start may be on
another number of processes. Which chunks are done is what process 0 finds in its folder of parts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from encore_jax.cli.score_parts import Parts
from encore_jax.cli.score_repeats import Repeats
from encore_jax.cli.score_rows import Item
from encore_jax.cli.score_table import kinds_of, lengths_of, table_of, values_of
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.parallel.processes import gather_bytes, speaks
from encore_jax.reward.scorer import Scorer

if TYPE_CHECKING:
    from encore_jax.cli.score import Chunk

_DONE, _FAILED = b"+", b"-"
"""What a process sends begins with one of these."""


class Found(NamedTuple):
    """What a process says of a chunk of N responses.

    Attributes:
      values, lengths: ``[N, C]`` and ``[N]``, see `table_of`.
      refused, hidden: by the response's number, as text.
    """

    values: np.ndarray
    lengths: np.ndarray
    refused: Mapping[int, str]
    hidden: Mapping[int, str]

    def to_bytes(self) -> bytes:
        """For another process."""
        told = [{str(i): text for i, text in of.items()} for of in (self.refused, self.hidden)]
        file = io.BytesIO()
        np.savez(file, values=self.values, lengths=self.lengths, told=np.array([json.dumps(of) for of in told]))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Found:
        """What `to_bytes` made."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            told = [decode_json(str(text), dict[str, str], where="another process") for text in stored["told"]]
            return cls(stored["values"], stored["lengths"], *({int(i): text for i, text in of.items()} for of in told))


def rounds_of(done: Sequence[bool], processes: int) -> list[list[int]]:
    """Numbers of the chunks that are to do, so many at a time; the i-th of a round is process i's.

    >>> rounds_of([False, True, False, False], 2)
    [[0, 2], [3]]
    """
    todo = [number for number, is_done in enumerate(done) if not is_done]
    return [todo[start : start + processes] for start in range(0, len(todo), processes)]


def fill_together(
    scorer: Scorer, tokenized: Callable[[Callable[[int], bool]], Iterator[Chunk]], sizes: Sequence[int], parts: Parts,
    repeats: Repeats,
) -> None:  # fmt: skip
    """Scores what is not in process 0's parts yet; every process calls it with the same file.

    Args:
      scorer: on this process's own devices.
      tokenized: all chunks in order, given which of them, by number, need token ids.
      sizes: rows of every chunk.
      parts: of the output, used on process 0.
      repeats: texts of several chunks, which get the value that they had first; used on process 0.

    Raises:
      InputError: a process has failed; on all of them.
    """
    here = [parts.has(number, rows) if speaks() else False for number, rows in enumerate(sizes)]
    rounds = rounds_of(multihost_utils.broadcast_one_to_all(np.array(here)).tolist(), jax.process_count())
    place = jax.process_index()
    mine = {numbers[place] for numbers in rounds if place < len(numbers)}
    chunks, problem = tokenized(lambda number: number in mine), None
    for numbers in rounds:
        content, items = b"", {}
        try:
            for chunk in chunks:
                items[chunk.number] = chunk.items
                if chunk.number in mine:
                    values = values_of(scorer, chunk.items, chunk.sequences)
                    found = Found(values, lengths_of(chunk.sequences), chunk.refused, chunk.hidden)
                    content = found.to_bytes()
                if chunk.number == numbers[-1]:
                    break
        except Exception as error:  # whatever it is, the others must not wait for this process
            problem = problem or error
        contents = _exchanged(content, problem)
        if speaks():
            try:
                _write(scorer, parts, repeats, items, dict(zip(numbers, contents, strict=False)))
            except Exception as error:  # told with what is sent next
                problem = error
    _exchanged(b"", problem)


def _exchanged(content: bytes, problem: Exception | None) -> list[bytes]:
    """What every process has found.

    Raises:
      InputError: another one has a problem.
      Exception: this one's.
    """
    contents = gather_bytes(_FAILED if problem is not None else _DONE + content)
    if problem is not None:
        raise problem
    if failed := [str(number) for number, each in enumerate(contents) if each[:1] == _FAILED]:
        fix = "see that process's log, and run the same command again: what is scored is kept"
        raise InputError("could not score its part of the file", where=f"process {', '.join(failed)}", fix=fix)
    return [each[1:] for each in contents]


def _write(
    scorer: Scorer, parts: Parts, repeats: Repeats, items: Mapping[int, list[Item]], contents: Mapping[int, bytes]
) -> None:
    """Writes a round's chunks, in order; of chunks that are there already only the repeated texts are noted."""
    for number in sorted(items):
        if number not in contents:
            kinds = kinds_of(scorer.model.gate is not None)
            repeats.keep_part(items[number], parts.read(number), kinds, scorer.model.rules)
            continue
        found = Found.from_bytes(contents[number])
        values = found.values.copy()
        for i, row in repeats.known(items[number]).items():
            values[i] = row
        repeats.keep(items[number], values)
        parts.write(number, table_of(scorer, items[number], values, found.lengths, found.refused, found.hidden))
