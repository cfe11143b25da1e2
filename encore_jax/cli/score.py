"""Scores a file of prompts and responses with a saved reward model.

    encore score --model=runs/quickstart/compose --input=pairs.jsonl --output=scores.parquet

The input is anything `encore_jax.data.read_comparisons` knows, or rows {"prompt", "responses"}, {"prompt", "response"}.
The output has a row per input row, in order: id, rewards of its n responses, best (index of the highest, the first of
those that tie), first_place (indices of all that tie for it), preferred (if the file says). Column "score:RULE" lists
the n scores by a rule; tokens, reason and hidden follow. The reason says why something is null: a response that is
longer than the model takes, since nothing is truncated; a conversation that the chat template refuses; a row that holds
what no model here is shown, e.g. images. Hidden names the messages that the chat template does not print, such as
reasoning that it cuts; the rest is scored. A model whose weights depend on the prompt (ArmoRM) adds "weight:RULE": the
weight of every rule for each response; the others' weights are in the passport. The passport is in the file's metadata,
under "encore_jax". A model that its passport does not stand for is refused with the difference; with --allow-mismatch
it is used, and the difference recorded in that passport. --weights=equal, RULE=WEIGHT,... or a JSON file composes heads
that nobody has weighed, or weighs them otherwise. With --best=FILE.jsonl every prompt's best response is written there
too (best-of-n). No output may be an input, and what lies at an output already is left alone unless it holds exactly
these scores, or --overwrite is given.

Responses of one text have one score, in one row, in many rows, and after a restart: each is run once. The same
command resumes a killed run where it was: finished chunks wait in OUTPUT.parts until they are merged.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags, logging

from encore_jax.cli.score_parts import PARTS, Parts
from encore_jax.cli.score_repeats import Repeats
from encore_jax.cli.score_rows import PLAIN, Item, read_items
from encore_jax.cli.score_summary import summary
from encore_jax.cli.score_table import kinds_of, schema_of, score_items
from encore_jax.command_line import define_overwrite, one_line_errors, parse_flags, start_logging
from encore_jax.data import FORMATS, locate
from encore_jax.data.lock import output_lock
from encore_jax.data.outputs import check_new, check_outputs, check_suffix, local_inputs, new_file
from encore_jax.data.parquet_rows import record_batches
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.progress import track
from encore_jax.recipes.manifest import file_sha256, versions
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from encore_jax.reward.weighting import HELP

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
define_overwrite()
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
    model: RewardModel,
    source: Path,
    output: Path,
    *,
    best: Path | None = None,
    format: str = "auto",
    tokens_per_batch: int = 4096,
    overwrite: bool = False,
) -> dict:
    """Scores `source` into `output`, from where a killed run left off.

    Args:
      model: whose heads are weighed.
      source: prompts and responses.
      output: Parquet file; left as it is if it holds exactly these scores.
      best: JSONL file for the best response to every prompt.
      format: of the source.
      tokens_per_batch: that go through the model at once.
      overwrite: replace other files that lie at the outputs.

    Returns:
      Counts: rows, responses, too_long and refused (responses), rows_with_reason, accuracy and ties where the file
      says what is preferred.

    Raises:
      InputError: a malformed input or a model whose heads nobody weighs (before anything is scored), outputs that are
        somebody else's or the input, parts that another run left, another process at work on the same output, or an
        input that changed meanwhile.
    """
    if model.gate is None:
        _ = model.weights
    with contextlib.ExitStack() as stack:
        outputs = {"--output": output} | ({"--best": best} if best else {})
        check_outputs(outputs | {"parts of --output": output.with_name(output.name + PARTS)}, {"--input": source})
        for path in outputs.values():
            stack.enter_context(output_lock(path, fix="wait until it ends, or name another output"))
        identity = _identity(model, source, format)
        parts = Parts(output, identity, schema_of(model.rules, model.gate is not None))
        complete = parts.is_complete(overwrite)
        if best:
            check_new(best, overwrite=overwrite, flag="--best", made=complete)
        totals = _count(source, format)
        if not complete:
            _fill(parts, model, source, format, tokens_per_batch, totals)
            if file_sha256(source) != identity["input_sha256"]:
                parts.remove()
                raise InputError("changed while it was scored", where=str(source), fix="run the same command again")
            parts.merge(_sizes(totals.items))
        parts.remove()
        logging.info("%s: %s", source, totals.skips)
        counts = summary(output, totals.items)
        if best:
            write_best(source, format, output, best, overwrite)
        return counts


def _fill(parts: Parts, model: RewardModel, source: Path, format: str, tokens_per_batch: int, totals: Totals) -> None:
    """Scores what is not in the parts yet."""
    parts.claim()
    scorer = Scorer(model, tokens_per_batch=tokens_per_batch)
    chunks = _tokenized(scorer, _chunks(source, format), parts)
    for chunk in track(chunks, float(totals.characters), "score", lambda chunk: sum(map(_characters, chunk.items))):
        if chunk.sequences is not None:
            parts.write(chunk.number, score_items(scorer, chunk.items, *chunk[2:], totals.repeats))
        else:
            kinds = kinds_of(model.gate is not None)
            totals.repeats.keep_part(chunk.items, parts.read(chunk.number), kinds, model.rules)


def _sizes(items: int) -> list[int]:
    """Rows of every part."""
    return [min(CHUNK, items - start) for start in range(0, items, CHUNK)]


def write_best(source: Path, format: str, output: Path, target: Path, overwrite: bool = False) -> None:
    """Writes {id, prompt, response, reward, first_place} of every prompt's best response, the first of those that tie.

    Rows without one are left out.

    Raises:
      InputError: a file is there that holds something else, and must not be overwritten.
    """
    columns = ["rewards", "best", "first_place"]
    rewards = (row for batch in record_batches(output, columns) for row in batch.to_pylist())
    made = new_file(target, overwrite=overwrite, flag="--best")
    with made as temporary, open(temporary, "w", encoding="utf-8") as file:
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
        sequences = None if parts.has(number, len(items)) else scorer.tokenize(texts, refused, hidden)
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


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        parse_flags(argv, required=("model", "input", "output"))
        start_logging()
        output, best = Path(_OUTPUT.value), Path(_BEST.value) if _BEST.value else None
        check_suffix(output, (".parquet", ".pq"), "--output", "Parquet")
        if best:
            check_suffix(best, (".jsonl",), "--best", "JSON Lines")
        given = {f"--{flag.name}": flag.value for flag in (_MODEL, _INPUT, _WEIGHTS)}
        check_outputs({"--output": output} | ({"--best": best} if best else {}), local_inputs(given))
        source = locate(_INPUT.value)
        model = RewardModel.from_pretrained(_MODEL.value, allow_mismatch=_ALLOW.value, fetch_backbone=_FETCH.value)
        if _WEIGHTS.value:
            model = model.weighted(_WEIGHTS.value)
        for line in model.passport.mismatch:
            logging.warning("the model is not what its passport stands for: %s", line)
        options = {
            "format": _FORMAT.value,
            "tokens_per_batch": _TOKENS.value,
            "overwrite": flags.FLAGS["overwrite"].value,
        }
        counts = score_file(model, source, output, best=best, **options)
        print(json.dumps(counts | ({"mismatch": model.passport.mismatch} if model.passport.mismatch else {})))


if __name__ == "__main__":
    main(sys.argv)
