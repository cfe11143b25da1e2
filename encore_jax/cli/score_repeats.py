"""Texts that stand in several chunks of an input: scored in the first, so that all of them have exactly that score.

Within a chunk the scorer runs equal token sequences once. Chunks go through the model one by one, so what a text is
packed with differs from chunk to chunk, and with it the rounding of its score. The scorer reads its input twice anyway;
the first pass finds the texts that come again in a later chunk, and only their values are kept. A restarted run reads
them from the parts that are done.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from encore_jax.cli.score_rows import Item
from encore_jax.data.comparison import prompt_key


def text_digests(items: Sequence[Item]) -> list[bytes]:
    """16 bytes for every response, with its prompt, of every item in turn."""
    names = []
    for item in items:
        prompt = hashlib.blake2b(prompt_key(item.prompt).encode(), digest_size=16)
        for response in item.responses:
            text = prompt.copy()
            text.update(b"\0" + response.encode("utf-8", "surrogatepass"))
            names.append(text.digest())
    return names


class Repeats:
    """What is known of the texts that stand in more than one chunk.

    First pass: `see` every item; then `find`. Second pass: `known` before a chunk is scored, `keep` afterwards.
    """

    def __init__(self):
        self._seen, self._chunks = array("Q"), array("L")  # 8 bytes find candidates, which may be a few too many
        self._candidates: frozenset[int] = frozenset()
        self._values: dict[bytes, np.ndarray] = {}

    def see(self, item: Item, chunk: int) -> None:
        """Takes note of an item of the chunk with this number."""
        for name in text_digests([item]):
            self._seen.append(_short(name))
            self._chunks.append(chunk)

    def find(self) -> None:
        """Ends the first pass."""
        pairs = np.unique(np.stack([np.array(self._seen, np.uint64), np.array(self._chunks, np.uint64)]), axis=1)
        names, count = np.unique(pairs[0], return_counts=True)
        self._candidates = frozenset(names[count > 1].tolist())
        self._seen, self._chunks = array("Q"), array("L")

    def known(self, items: Sequence[Item]) -> dict[int, np.ndarray]:
        """Values ``[C]`` of responses that an earlier chunk has scored, by their number in this chunk."""
        if not self._values:
            return {}
        return {i: self._values[name] for i, name in enumerate(text_digests(items)) if name in self._values}

    def keep(self, items: Sequence[Item], values: np.ndarray) -> None:
        """Remembers values ``[N, C]`` of a chunk's N responses as far as a later chunk may ask for them."""
        if not self._candidates:
            return
        for name, row in zip(text_digests(items), values, strict=True):
            if _short(name) in self._candidates and np.isfinite(row).all():
                self._values.setdefault(name, row.copy())

    def keep_part(self, items: Sequence[Item], table: pa.Table, kinds: Sequence[str], rules: Sequence[str]) -> None:
        """The same from a part that is written: its columns "KIND:RULE"."""
        if self._candidates:
            columns = [table.column(f"{kind}:{rule}").combine_chunks().flatten() for kind in kinds for rule in rules]
            self.keep(items, np.stack([column.to_numpy(zero_copy_only=False) for column in columns], 1))


def _short(name: bytes) -> int:
    return int.from_bytes(name[:8], "little")
