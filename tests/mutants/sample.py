"""Which mistakes are made: a seeded sample that an edit elsewhere leaves as it is."""

from __future__ import annotations

import collections
import hashlib
import itertools
import json
import math
from pathlib import Path

from mutations import Mutation, mutate, mutations_of
from targets import files


def sample(root: Path, count: int, seed: int) -> list[Mutation]:
    """The same number of mutations from every room; one of a line, or long lines would crowd out others.

    Lines are ordered by the hash of the seed and their text, so that a changed line changes nothing about others. A
    sample is kept in build/mutants until a file changes.
    """
    rooms = files(root)
    wanted = math.ceil(count / len(rooms))
    own = [str(path.relative_to(root)) for path in Path(__file__).resolve().parent.glob("*.py")]
    texts = [(path, (root / path).read_text()) for path in sorted({*own, *itertools.chain(*rooms.values())})]
    of, store = _hash(seed, wanted, texts), root / "build" / "mutants" / f"sample-{seed}.json"
    if store.is_file() and (known := json.loads(store.read_text()))["of"] == of:
        return [Mutation(*row) for row in known["mutations"]]
    found = [m for room, paths in rooms.items() for m in _of_room(root, paths, f"{seed} {room}", wanted)]
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps({"of": of, "mutations": found}))
    return found


def _of_room(root: Path, paths: list[str], salt: str, wanted: int) -> list[Mutation]:
    by_line = {}
    for path in paths:
        source = (root / path).read_text()
        lines, times = source.splitlines(), collections.Counter()
        mutations = collections.defaultdict(list)
        for mutation in mutations_of(path, source):
            mutations[mutation.line].append(mutation)
        for line, choices in sorted(mutations.items()):
            text = lines[line - 1].strip()
            times[text] += 1
            by_line[_hash(salt, path, text, times[text])] = _shuffled(salt, choices)
    usable = (_first_usable(root, by_line[key]) for key in sorted(by_line))
    return list(itertools.islice(filter(None, usable), wanted))


def _shuffled(salt: str, choices: list[Mutation]) -> list[Mutation]:
    """A line's mutations in an order that depends on operators, and not on where in the file they apply."""
    seen, keyed = collections.Counter(), []
    for mutation in choices:
        seen[mutation.operator] += 1
        keyed.append((_hash(salt, mutation.operator, seen[mutation.operator]), mutation))
    return [mutation for _, mutation in sorted(keyed)]


def _hash(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _first_usable(root: Path, mutations: list[Mutation]) -> Mutation | None:
    return next((m for m in mutations if mutate(m, (root / m.path).read_text()) is not None), None)
