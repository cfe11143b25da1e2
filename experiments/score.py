"""Scores a file of prompts and responses with a saved reward model.

    python -m experiments.score --model=runs/quickstart/compose --input=pairs.jsonl --output=scores.parquet

The input is anything `encore_jax.data.read_comparisons` knows, or rows {"prompt", "responses"}, {"prompt", "response"}.
The output has a row per input row, in order: id, rewards of its n responses, best (index of the highest, the first of
those that tie), first_place (indices of all that tie for it), preferred (if the file says), a list of n scores for
every rule (column "score:RULE"), tokens, reason: why something is null (a response that is longer than the model takes,
since nothing is truncated; a conversation that the chat template refuses; a row that holds what no model here is shown,
e.g. images), and hidden: which messages the chat template does not print, such as reasoning that it cuts; the rest is
scored. A model whose weights depend on the prompt (ArmoRM)
adds "weight:RULE": the weight of every rule for each response; the others' weights are in the passport. The passport is
in the file's metadata, under "encore_jax". A model that its passport does not stand for is refused with the difference;
with --allow-mismatch it is used, and the difference recorded in that passport. --weights=equal, RULE=WEIGHT,... or a
JSON file composes heads that nobody has weighed, or weighs them otherwise. With --best=FILE.jsonl every prompt's
best response is written there too (best-of-n).

Responses of one text have one score, in one row, in many rows, and after a restart: each is run once. Killed, the same
command goes on where it was: finished chunks wait in OUTPUT.parts until they are merged.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is not installed is no news

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import app, flags, logging

from encore_jax.composition.ties import first_place
from encore_jax.data import FORMATS, locate
from encore_jax.data.atomic import atomic_path
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.interop.reward_model import RewardModel
from encore_jax.interop.scorer import Scorer
from encore_jax.interop.weighting import HELP
from experiments.manifest import file_sha256, versions
from experiments.progress import track
from experiments.score_parts import Parts
from experiments.score_repeats import Repeats
from experiments.score_rows import PLAIN, Item, read_items

CHUNK = 1024
"""Input rows of a chunk: what a kill can cost, and how far packing looks."""

_MODEL = flags.DEFINE_string("model", None, "Folder of a saved reward model, or an hf:// uri.")
_INPUT = flags.DEFINE_string("input", None, "File of prompts and responses, a path or an hf:// uri.")
_OUTPUT = flags.DEFINE_string("output", None, "Parquet file to write.")
_FORMAT = flags.DEFINE_string("format", "auto", f"Of the input: auto, {PLAIN}, {', '.join(FORMATS)}.")
_BEST = flags.DEFINE_string("best", None, "JSONL file for the best response to every prompt.")
_ALLOW = flags.DEFINE_bool("allow_mismatch", False, "Use a model that its passport does not stand for; recorded.")
flags.DEFINE_alias("allow-mismatch", "allow_mismatch")
_FETCH = flags.DEFINE_bool("fetch", False, "Fetch the backbone that the model's own files name, wherever it is.")
_WEIGHTS = flags.DEFINE_string("weights", "", HELP)
_TOKENS = flags.DEFINE_integer("tokens_per_batch", 4096, "Tokens that go through the model at once.", lower_bound=1)


class Totals(NamedTuple):
    """What a whole input holds: items, characters of all responses and prompts, what was skipped, and what repeats."""

    items: int
    characters: int
    skips: SkipCounter
    repeats: Repeats


class Chunk(NamedTuple):
    """Some of the items, and token ids of all their responses unless they are scored already.

    A response that the chat template refuses has no ids (None); `refused` says why, by its place among `sequences`.
    """

    number: int
    items: list[Item]
    sequences: list[np.ndarray | None] | None
    refused: dict[int, str]
    hidden: dict[int, str]


def score_file(
    model: RewardModel, source: Path, output: Path, *, format: str = "auto", tokens_per_batch: int = 4096
) -> dict:
    """Scores `source` into `output`, from where a killed run left off.

    Returns:
      Counts: rows, responses, too_long and refused (responses), rows_with_reason, accuracy and ties where the file
      says what is preferred.

    Raises:
      InputError: a malformed input or a model whose heads nobody weighs (before anything is scored), or parts that
        another run left.
    """
    if model.gate is None:
        _ = model.weights
    if output.exists() and output.samefile(source):
        raise InputError("is the input", where=str(output), fix="name another output")
    totals = _count(source, format)
    parts = Parts(output, _identity(model, source, format), schema_of(model.rules, model.gate is not None))
    if not parts.complete():
        parts.claim()
        scorer = Scorer(model, tokens_per_batch=tokens_per_batch)
        chunks = _tokenized(scorer, _chunks(source, format), parts)
        for chunk in track(chunks, float(totals.characters), "score", lambda chunk: sum(map(_characters, chunk.items))):
            if chunk.sequences is not None:
                parts.write(chunk.number, score_items(scorer, chunk.items, *chunk[2:], totals.repeats))
            else:
                kinds = _kinds(model.gate is not None)
                totals.repeats.keep_part(chunk.items, parts.read(chunk.number), kinds, model.rules)
        parts.merge()
    shutil.rmtree(parts.folder, ignore_errors=True)
    logging.info("%s: %s", source, totals.skips)
    return summary(output)


def score_items(
    scorer: Scorer,
    items: Sequence[Item],
    sequences: Sequence[np.ndarray | None],
    refused: Mapping[int, str] = {},
    hidden: Mapping[int, str] = {},
    repeats: Repeats | None = None,
) -> pa.Table:
    """One row per item; see the top of this file.

    Args:
      scorer: the model.
      items: with n responses each.
      sequences: token ids of all responses, one item after the other.
      refused: why a response has none, by its place among `sequences`.
      hidden: what the chat template does not print of a conversation, by the response's place.
      repeats: texts that other chunks hold too.
    """
    counts = [len(item.responses) for item in items]
    repeats = Repeats() if repeats is None else repeats
    values = _values(scorer, np.repeat(np.arange(len(items)), counts), sequences, repeats.known(items))
    repeats.keep(items, values)
    scored = scorer.scored(values)
    lengths = np.array([-1 if sequence is None else len(sequence) for sequence in sequences], int)
    why, lost = (np.array([of.get(i, "") for i in range(len(sequences))], object) for of in (refused, hidden))
    rules = scorer.model.rules
    schema = schema_of(scorer.model.rules, scorer.model.gate is not None)
    columns: dict[str, list] = {name: [] for name in schema.names}
    splits = np.cumsum(counts)[:-1]
    each = scored.rewards, scored.tolerances, scored.scores, scored.weights, lengths, why, lost
    parts = (np.split(values, splits) for values in each)
    for item, reward, slack, score, weight, length, problem, missing in zip(items, *parts, strict=True):
        long, no_ids = np.flatnonzero(length > scorer.longest), np.flatnonzero(length < 0)
        columns["id"].append(item.id)
        columns["rewards"].append(_nullable(reward))
        unscored = long.size or no_ids.size or item.problem
        places = None if unscored else first_place(reward, slack).tolist()
        columns["best"].append(places and places[0])
        columns["first_place"].append(places)
        columns["preferred"].append(item.preferred)
        for k, rule in enumerate(rules):
            columns[f"score:{rule}"].append(_nullable(score[:, k]))
            if scorer.model.gate is not None:
                columns[f"weight:{rule}"].append(_nullable(weight[:, k]))
        columns["tokens"].append([None if n < 0 else n for n in length.tolist()])
        refusals = (f"response {i}: {problem[i]}" for i in no_ids[:5])
        reasons = item.problem, _too_long(long, length, scorer.longest), *refusals
        columns["reason"].append("; ".join(filter(None, reasons)) or None)
        said = [f"response {i}: {text}" for i, text in enumerate(missing) if text]
        columns["hidden"].append("; ".join(said[:5]) or None)
    return pa.table(columns, schema)


def _values(scorer: Scorer, owner: np.ndarray, sequences: Sequence[np.ndarray], known: dict) -> np.ndarray:
    """Values ``[N, C]`` of N responses of items `owner` ``[N]``; those that are `known`, by their number, stay so."""
    values = np.full((len(sequences), scorer.columns), np.nan, np.float32)
    for i, row in known.items():
        values[i] = row
    new = [i for i in range(len(sequences)) if i not in known]
    values[new] = scorer.run_sequences([sequences[i] for i in new], [str(owner[i]) for i in new])
    return values


def summary(output: Path) -> dict:
    """Counts over a written file; accuracy is strict: a tie is no success.

    shared_first_place counts rows whose best response is one of several, of the same reward.
    """
    rows = responses = too_long = refused = reasons = hidden = judged = right = ties = shared = 0
    columns = ["id", "rewards", "first_place", "preferred", "tokens", "reason", "hidden"]
    for batch in pq.ParquetFile(output).iter_batches(columns=columns):
        for row in batch.to_pylist():
            rewards, preferred, first = row["rewards"], row["preferred"], row["first_place"]
            rows += 1
            responses += len(rewards)
            shared += first is not None and len(first) > 1
            refused += row["tokens"].count(None)
            too_long += rewards.count(None) - row["tokens"].count(None)
            if row["reason"] is not None:
                reasons += 1
                if reasons == 1:
                    logging.warning("a row without all of its rewards, the first one: %s: %s", row["id"], row["reason"])
            if row["hidden"] is not None:
                hidden += 1
                if hidden == 1:
                    logging.warning("a row that is not scored whole, the first one: %s: %s", row["id"], row["hidden"])
            if preferred is not None and first is not None and len(rewards) > 1:
                judged += 1
                right += first == [preferred]
                ties += preferred in first and len(first) > 1
    counts = {"rows": rows, "responses": responses, "too_long": too_long, "rows_with_reason": reasons}
    counts |= {"refused": refused} if refused else {}
    counts |= {"rows_with_hidden_text": hidden} if hidden else {}
    counts |= {"shared_first_place": shared} if shared else {}
    return counts | ({"judged": judged, "accuracy": right / judged, "ties": ties} if judged else {})


def write_best(source: Path, format: str, output: Path, target: Path) -> None:
    """Writes {id, prompt, response, reward, first_place} of every prompt's best response, the first of those that tie;
    rows without one are left out."""
    columns = ["rewards", "best", "first_place"]
    rewards = (row for batch in pq.ParquetFile(output).iter_batches(columns=columns) for row in batch.to_pylist())
    with atomic_path(target) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for item, row in zip(read_items(source, format, SkipCounter()), rewards, strict=True):
            if row["best"] is not None:
                prompt = [{"role": turn.role, "content": turn.content} for turn in item.prompt]
                best = {"response": item.responses[row["best"]], "reward": row["rewards"][row["best"]]}
                best["first_place"] = row["first_place"]
                file.write(json.dumps({"id": item.id, "prompt": prompt, **best}, ensure_ascii=False) + "\n")


def _count(source: Path, format: str) -> Totals:
    items, characters, skips, repeats = 0, 0, SkipCounter(), Repeats()
    for item in read_items(source, format, skips):
        repeats.see(item, items // CHUNK)
        items += 1
        characters += _characters(item)
    if not items:
        raise InputError("there is nothing to score", where=str(source), fix="check the file")
    repeats.find()
    return Totals(items, characters, skips, repeats)


def _characters(item: Item) -> int:
    return sum(len(turn.content) for turn in item.prompt) + sum(map(len, item.responses))


def _identity(model: RewardModel, source: Path, format: str) -> dict:
    heads = hashlib.sha256(model.kernel.tobytes() + model.bias.tobytes()).hexdigest()
    return {
        "passport": model.passport.to_dict(),
        "heads_sha256": heads,
        "buckets": list(model.buckets),
        "input_sha256": file_sha256(source),
        "format": format,
        "versions": versions(),
    }


def _chunks(source: Path, format: str) -> Iterator[list[Item]]:
    items = read_items(source, format, SkipCounter())
    while chunk := list(itertools.islice(items, CHUNK)):
        yield chunk


def _tokenized(scorer: Scorer, chunks: Iterator[list[Item]], parts: Parts) -> Iterator[Chunk]:
    """Chunks with token ids, except those that are done; each is tokenised while the one before is scored."""

    def tokenize(number: int, items: list[Item]) -> Chunk:
        texts = [(item.prompt, response) for item in items for response in item.responses]
        refused: dict[int, str] = {}
        hidden: dict[int, str] = {}
        sequences = None if parts.has(number) else scorer.tokenize(texts, refused, hidden)
        return Chunk(number, items, sequences, refused, hidden)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = None
        for number, items in enumerate(chunks):
            started = pool.submit(tokenize, number, items)
            if waiting is not None:
                yield waiting.result()
            waiting = started
        if waiting is not None:
            yield waiting.result()


def schema_of(rules: Sequence[str], gated: bool) -> pa.Schema:
    """Columns of a scored file: of every rule its scores, and of a gated model its weights as well."""
    numbers = pa.list_(pa.float32())
    return pa.schema([
        ("id", pa.string()), ("rewards", numbers), ("best", pa.int32()),
        ("first_place", pa.list_(pa.int32())), ("preferred", pa.int32()),
        *((f"{kind}:{rule}", numbers) for kind in _kinds(gated) for rule in rules),
        ("tokens", pa.list_(pa.int32())), ("reason", pa.string()), ("hidden", pa.string()),
    ])  # fmt: skip


def _kinds(gated: bool) -> tuple[str, ...]:
    """What a scored file says of every rule: columns "KIND:RULE"."""
    return ("score", "weight") if gated else ("score",)


def _nullable(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _too_long(long: np.ndarray, length: np.ndarray, longest: int) -> str:
    if not long.size:
        return ""
    each = ", ".join(f"response {i}: {length[i]}" for i in long[:5])
    return f"{long.size} of {len(length)} responses have more than {longest} tokens ({each})"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    try:
        source, output = locate(_INPUT.value), Path(_OUTPUT.value)
        model = RewardModel.from_pretrained(_MODEL.value, allow_mismatch=_ALLOW.value, fetch_backbone=_FETCH.value)
        if _WEIGHTS.value:
            model = model.weighted(_WEIGHTS.value)
        for line in model.passport.mismatch:
            logging.warning("the model is not what its passport stands for: %s", line)
        counts = score_file(model, source, output, format=_FORMAT.value, tokens_per_batch=_TOKENS.value)
        if _BEST.value:
            write_best(source, _FORMAT.value, output, Path(_BEST.value))
        print(json.dumps(counts | ({"mismatch": model.passport.mismatch} if model.passport.mismatch else {})))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "input", "output"])
    app.run(main)
