"""Scores a file of prompts and responses with a saved reward model.

    encore score --model=runs/quickstart/compose --input=pairs.jsonl --output=scores.parquet

The input is anything `encore_jax.data.read_comparisons` knows, or rows {"prompt", "responses"}, {"prompt", "response"}.
The output has a row per input row, in order: id, rewards of its n responses, best (index of the highest, the first of
those that tie), first_place (indices of all that tie for it), preferred (if the file says). Column "score:RULE" lists
the n scores by a rule; tokens, reason and hidden follow. Scores are on the scale that the model was trained on, a run's
0 to 1, but heads are linear: a text unlike those rated may lie beyond its ends. The reason says why something is null:
a response that is longer than the model takes, since nothing is truncated; a conversation that the chat template
refuses; a row that holds what no model here is shown, e.g. images. Hidden names the messages that the chat template
does not print, such as reasoning that it cuts; the rest is scored. A model whose weights depend on the prompt (ArmoRM)
adds "weight:RULE": the weight of every rule for each response; the others' weights are in the passport. The passport
is in the file's metadata, under "encore_jax".
A model that its passport does not stand for is refused with the difference; with --allow-mismatch
it is used, and the difference recorded in that passport. --weights=equal, RULE=WEIGHT,... or a JSON file composes heads
that nobody has weighed, or weighs them otherwise. With --intervals columns "lower" and "upper" hold the ends of each
reward's interval, "lower:RULE" and "upper:RULE" those of each score's; null where there is none (docs/intervals.md).
With --best=FILE.jsonl every prompt's best response is written there too (best-of-n). No output may be an input, and
what lies at an output already is left alone unless it holds exactly these scores, or --overwrite is given.

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags, logging

from encore_jax.cli.score_best import write_best
from encore_jax.cli.score_parts import PARTS, Parts
from encore_jax.cli.score_rows import PLAIN, Item, read_items
from encore_jax.cli.score_summary import summary
from encore_jax.cli.score_table import kinds_of, schema_of, score_items
from encore_jax.cli.score_together import fill_together
from encore_jax.cli.score_totals import Totals, characters_of, count
from encore_jax.command_line import define_devices, define_overwrite, one_line_errors, parse_flags, start_logging
from encore_jax.data import FORMATS, locate
from encore_jax.data.lock import kept_output, writing_lock
from encore_jax.data.outputs import check_new, check_outputs, check_suffix, local_inputs
from encore_jax.data.skips import SkipCounter
from encore_jax.data.sources import check_local_file
from encore_jax.errors import InputError
from encore_jax.parallel.joining import join
from encore_jax.parallel.mesh import parse_mesh, spans_processes
from encore_jax.parallel.processes import all_or_none, all_same_everywhere, end_at_once, of_first, speaks
from encore_jax.progress import SAY_AFTER, at_work, track
from encore_jax.recipes.manifest import file_sha256, versions
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from encore_jax.reward.weighting import HELP
from encore_jax.terminal_text import cut, one_line

CHUNK = 1024
"""Input rows of a chunk: what a kill can cost, and how far packing looks."""

IN_USE = "wait until it ends, or name another output"
"""What a user can do whose output another process writes."""

_MODEL = flags.DEFINE_string("model", None, "Folder of a saved reward model, or an hf:// uri.")
_INPUT = flags.DEFINE_string("input", None, "File of prompts and responses, a path or an hf:// uri.")
_OUTPUT = flags.DEFINE_string("output", None, "Parquet file to write.")
_FORMAT = flags.DEFINE_string("format", "auto", f"Of the input: auto, {PLAIN}, {', '.join(FORMATS)}.")
_BEST = flags.DEFINE_string("best", None, "JSONL file for the best response to every prompt.")
_ALLOW = flags.DEFINE_bool("allow_mismatch", False, "Use a model that its passport does not stand for; recorded.")
_FETCH = flags.DEFINE_bool("fetch", False, "Fetch the backbone that the model's own files name, wherever it is.")
define_overwrite()
_WEIGHTS = flags.DEFINE_string("weights", "", HELP)
_INTERVALS = flags.DEFINE_bool("intervals", False, "Write the ends of every interval, of a model that has them.")
_TOKENS = flags.DEFINE_integer("tokens_per_batch", 4096, "Tokens that go through the model at once.", lower_bound=1)
define_devices()


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
    intervals: bool = False,
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
      intervals: write their ends as well.

    Returns:
      Counts: rows, responses, too_long and refused (responses), rows_with_reason, accuracy and ties where the file
      says what is preferred.

    Raises:
      InputError: a malformed input, a model whose heads nobody weighs, or intervals of a model that nobody has
        calibrated (before anything is scored); outputs that are somebody else's or the input, parts that another run
        left, another process at work on the same output, or an input that changed meanwhile.
    """
    if model.gate is None:
        _ = model.weights
    for note in model.intervals.notes if intervals else ():
        logging.info("intervals: %s", note)
    identity = all_or_none(lambda: _identity(model, source, format)) | ({"intervals": True} if intervals else {})
    if jax.process_count() > 1:
        all_same_everywhere("what is scored", identity, "give every host the same files and versions")
    schema = schema_of(model.rules, model.gate is not None, bool(model.passport.graph), intervals)
    parts = Parts(output, identity, schema)
    outputs = {"--output": output} | ({"--best": best} if best else {})
    with contextlib.ExitStack() as stack:

        def begin() -> bool:
            check_outputs(outputs | {"parts of --output": output.with_name(output.name + PARTS)}, {"--input": source})
            for path in outputs.values():
                stack.enter_context(writing_lock(path, fix=IN_USE))
            complete = parts.is_complete(overwrite)
            if best:
                check_new(best, overwrite=overwrite, flag="--best", made=complete)
            return complete

        complete = bool(of_first(begin))
        totals = all_or_none(lambda: count(source, format, CHUNK))
        if not complete:
            of_first(parts.claim)
            all_or_none(lambda: _fill(parts, model, source, format, tokens_per_batch, totals, intervals))
            of_first(lambda: _merge(parts, source, identity, totals))
        counts: dict = {}

        def end() -> None:
            parts.remove()
            logging.info("%s: %s", source, totals.skips)
            counts.update(summary(output, totals.items))
            if best:
                write_best(source, format, output, best, overwrite)

        of_first(end)
        return counts


def _merge(parts: Parts, source: Path, identity: dict, totals: Totals) -> None:
    """Puts the parts together, if they are all of this input."""
    if file_sha256(source) != identity["input_sha256"]:
        parts.remove()
        raise InputError("changed while it was scored", where=str(source), fix="run the same command again")
    parts.merge(_sizes(totals.items))


def _fill(
    parts: Parts, model: RewardModel, source: Path, format: str, tokens_per_batch: int, totals: Totals, intervals: bool
) -> None:
    """Scores what is not in the parts yet.

    Over several processes each scores chunks of its own, or, where only all devices together hold the model, process 0
    does it and the others lend it their devices.
    """
    several = jax.process_count() > 1
    led = several and model.mesh is not None and spans_processes(model.mesh)
    scorer = Scorer(model, tokens_per_batch=tokens_per_batch, led=led, intervals=intervals)
    if several and not led:
        with _tokenizer() as pool:

            def tokenized(wanted):
                chunks = _chunks(source, format)
                return _shown(_tokenized(pool, scorer, chunks, lambda number, items: wanted(number)), totals)

            fill_together(scorer, tokenized, _sizes(totals.items), parts, totals.repeats)
        return
    if not speaks():
        scorer.follow()
        return
    missing = lambda number, items: not parts.has(number, len(items))  # noqa: E731
    try:
        with _tokenizer() as pool:
            logging.info("score: begun; what is compiled for the first time takes longer")
            of = len(_sizes(totals.items))
            for chunk in _tokenized(pool, scorer, _chunks(source, format), missing):
                if chunk.sequences is not None:
                    label = f"score, part {chunk.number + 1} of {of}" if of > 1 else "score"
                    parts.write(chunk.number, score_items(scorer, chunk.items, *chunk[2:], totals.repeats, label))
                else:
                    kinds = kinds_of(model.gate is not None)
                    totals.repeats.keep_part(chunk.items, parts.read(chunk.number), kinds, model.rules)
    finally:
        scorer.finish()


def _shown(chunks: Iterator[Chunk], totals: Totals) -> Iterator[Chunk]:
    """The same, with progress."""
    return track(chunks, float(totals.characters), "score", lambda chunk: sum(map(characters_of, chunk.items)))


def _sizes(items: int) -> list[int]:
    """Rows of every part."""
    return [min(CHUNK, items - start) for start in range(0, items, CHUNK)]


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


def _tokenizer() -> concurrent.futures.ThreadPoolExecutor:
    """The thread that tokenises, to be held by a ``with``.

    A generator may not hold it: one that an exception leaves behind is closed by the garbage collector in any thread,
    and this thread cannot wait for itself.
    """
    return concurrent.futures.ThreadPoolExecutor(1, "tokenizer")


def _tokenized(
    pool: concurrent.futures.Executor,
    scorer: Scorer,
    chunks: Iterator[list[Item]],
    wanted: Callable[[int, list[Item]], bool],
) -> Iterator[Chunk]:
    """Chunks, with token ids where they are wanted; each is tokenised while the one before is scored."""

    def tokenize(number: int, items: list[Item]) -> Chunk:
        texts = [(item.prompt, response) for item in items for response in item.responses]
        refused: dict[int, str] = {}
        hidden: dict[int, str] = {}
        sequences = scorer.tokenize(texts, refused, hidden) if wanted(number, items) else None
        return Chunk(number, items, sequences, refused, hidden)

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
        join(flags.FLAGS["multihost"].value)
        if not speaks():
            logging.set_verbosity(logging.ERROR)
        try:
            _run()
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            said = cut(one_line(error), 300)
            fix = "see the logs of all processes, and run the same command again on each; what was scored is kept"
            end_at_once(f"a step failed, here or on another process: {said}", fix)


@at_work("score", first=SAY_AFTER)
def _run() -> None:
    """The command, once its flags are read and all processes have met."""
    output, best = Path(_OUTPUT.value), Path(_BEST.value) if _BEST.value else None
    options = {"format": _FORMAT.value, "tokens_per_batch": _TOKENS.value}
    options |= {"overwrite": flags.FLAGS["overwrite"].value, "intervals": _INTERVALS.value}
    all_or_none(lambda: _check_outputs(output, best))
    with contextlib.ExitStack() as kept:  # a second command on these outputs reads no model for nothing
        for path in filter(None, (output, best)):
            of_first(lambda path=path: kept.enter_context(kept_output(path, fix=IN_USE)))
        source, model = all_or_none(_inputs)
        counts = score_file(model, source, output, best=best, **options)
    if speaks():
        if "accuracy" in counts:
            logging.info("accuracy is over this file's rows; on rows that the model was trained on it is too high")
        print(json.dumps(counts | ({"mismatch": model.passport.mismatch} if model.passport.mismatch else {})))


def _check_outputs(output: Path, best: Path | None) -> None:
    """Refuses outputs of another kind or that are inputs, and an input that is no file."""
    check_suffix(output, (".parquet", ".pq"), "--output", "Parquet")
    if best:
        check_suffix(best, (".jsonl",), "--best", "JSON Lines")
    given = {f"--{flag.name}": flag.value for flag in (_MODEL, _INPUT, _WEIGHTS)}
    check_outputs({"--output": output} | ({"--best": best} if best else {}), local_inputs(given))
    check_local_file(_INPUT.value)


def _inputs() -> tuple[Path, RewardModel]:
    """The file and the model that the flags name."""
    source, mesh = locate(_INPUT.value), flags.FLAGS["mesh"].value
    logging.info("score: reading %s", _MODEL.value)
    model = RewardModel.from_pretrained(
        _MODEL.value,
        allow_mismatch=_ALLOW.value,
        fetch_backbone=_FETCH.value,
        mesh=parse_mesh(mesh) if mesh else None,
    )
    if _WEIGHTS.value:
        model = model.weighted(_WEIGHTS.value)
    for line in model.passport.mismatch:
        logging.warning("the model is not what its passport stands for: %s", line)
    return source, model


if __name__ == "__main__":
    main(sys.argv)
