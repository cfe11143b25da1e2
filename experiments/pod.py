"""What the scripts for a whole run on a TPU slice need besides `encore`: see tpu_scripts/encore_8b.sh.

python -m experiments.pod data --out=data/8b/pairs.jsonl hh.jsonl pku.jsonl     several files as one
python -m experiments.pod cost --accelerator=v5e:4x4 --train=encore_llama31_8b --pairs=data/8b/pairs.jsonl
python -m experiments.pod labels --out=data/8b/labelled.jsonl runs/8b/critical/rate/comparisons.jsonl
python -m experiments.pod table --out=runs/8b/benchmarks.md runs/8b/score-*     benchmark runs side by side
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from encore_jax.cli.config_file import load_config
from encore_jax.command_line import Parser, asks_for_help, one_line_errors
from encore_jax.data import SkipCounter, read_comparisons
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.comparison import Comparison
from encore_jax.data.jsonl import write_comparisons
from encore_jax.data.readers import recognise
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.parallel.aot import MFU
from encore_jax.parallel.flops import matrix_entries
from encore_jax.parallel.slices import parse_slice
from encore_jax.recipes.stages.gradient import backbone_config
from encore_jax.rules import RulePool

CHARACTERS_PER_TOKEN = 4
"""Of English text under the usual tokenizers, roughly."""
TOKENS_PER_QUESTION = 60
"""Of a rule's text and the question around it."""
PRICES = {"v4": 3.22, "v5e": 1.20, "v5p": 4.20, "v6e": 2.70}
"""US dollars of a chip's hour, on demand in the US: what is remembered of `PRICE_PAGE` in 2025. Only v5e's was found
elsewhere in November 2026; the others are unchecked. --price says yours."""
PRICE_PAGE = "cloud.google.com/tpu/pricing"
SETUP_HOURS = 0.25
"""From a slice's creation to the first step, with downloads."""
SHARES = {"train": 3, "judge": 1, "score": 1}
"""Passes over the weights: forward and backward, or forward alone."""


def _texts(files: Sequence[str], skips: SkipCounter) -> Iterator[Comparison]:
    """Comparisons without the ratings that files may carry: the judge rates them."""
    options = {"ratings": False} if any(map(_is_own, files)) else {}
    for comparison in read_comparisons(list(files), skips=skips, **options):
        yield dataclasses.replace(comparison, rules=(), ratings=None, mask=None)


def _is_own(file: str) -> bool:
    """Whether a file is in this project's own format."""
    with contextlib.suppress(InputError):  # a table of pairs, or of no format; its reader says what is wrong
        return recognise(file) == "encore"
    return False


def join_files(files: Sequence[str], out: Path) -> str:
    """Writes the comparisons of several raw files as one file of this project's format; returns what was read."""
    skips = SkipCounter()
    make_folder(out.parent)
    written = write_comparisons(out, _texts(files, skips))
    return f"{skips}\nwritten: {out}, {written} comparisons"


def merge_ratings(files: Sequence[str], pool: str, out: Path) -> str:
    """Writes the comparisons of the first file, with their ratings where the second one, a judge's, has them."""
    if len(files) != 2:
        raise InputError(
            f"{len(files)} files", where="merge", fix="give two: all comparisons, and those that are rated"
        )
    everything, rated = files
    rules = read_pool(pool)
    known = {one.id: one for one in read_comparisons(rated, "encore", pool=rules)}
    matched = 0

    def merged() -> Iterator[Comparison]:
        nonlocal matched
        for one in read_comparisons(everything, "encore"):
            other = known.get(one.id)
            if other is not None and (other.prompt, other.responses) == (one.prompt, one.responses):
                matched += 1
                one = dataclasses.replace(one, rules=other.rules, ratings=other.ratings, mask=other.mask)
            yield one

    written = write_comparisons(out, merged(), pool=rules)
    if matched != len(known):
        problem = f"{len(known) - matched} rated comparisons are not among those of {everything}"
        raise InputError(problem, where=rated, fix="merge a judge's file with the one that the judge was given")
    return f"written: {out}, {written} comparisons, {matched} of them rated"


def read_pool(pool: str) -> RulePool:
    """A shipped pool, or a YAML file."""
    return RulePool.from_yaml(pool) if pool.endswith((".yaml", ".yml")) else RulePool.shipped(pool)


def rule_labels(file: str, pool: RulePool) -> Iterator[Comparison]:
    """Comparisons labelled by the rules that a judge rated them on: the larger sum of ratings; ties are left out.

    The judge was asked about the critical rules alone, so the ratings that exist are those of the critical rules.
    """
    for comparison in read_comparisons(file, "encore", pool=pool):
        if comparison.ratings is None or len(comparison.responses) != 2:
            continue
        both = comparison.mask.all(axis=0)
        sums = comparison.ratings[:, both].astype(float).sum(axis=1)
        if sums[0] != sums[1]:
            preferred = int(sums[1] > sums[0])
            yield dataclasses.replace(comparison, preferred=preferred, rules=(), ratings=None, mask=None)


def write_labels(file: str, pool: str, out: Path) -> str:
    """Writes `rule_labels`; returns how many there are."""
    make_folder(out.parent)
    written = write_comparisons(out, rule_labels(file, read_pool(pool)))
    if not written:
        raise InputError("not one comparison is decided by its ratings", where=file, fix="look at the judge's report")
    return f"written: {out}, {written} comparisons labelled by their critical rules"


@dataclasses.dataclass(frozen=True)
class Work:
    """A step that runs on the slice.

    Attributes:
      name: what it is called.
      flops: by arithmetic, matrices alone.
    """

    name: str
    flops: float


def tokens_of(files: Iterable[str]) -> tuple[int, int, int]:
    """Comparisons, their tokens with the prompt once, and tokens with the prompt before each response."""
    number = once = each = 0
    for comparison in _texts(list(files), SkipCounter()):
        prompt = sum(len(message.content) for message in comparison.prompt) // CHARACTERS_PER_TOKEN
        answers = sum(len(text) for text in comparison.responses) // CHARACTERS_PER_TOKEN
        number += 1
        once += prompt + answers
        each += prompt * len(comparison.responses) + answers
    return number, once, each


def parameters_of(config: str) -> tuple[int, int]:
    """Entries of a configuration's matrices, and its epochs."""
    made = load_config(config)
    if not hasattr(made, "train") or not made.model.architecture and not Path(made.model.path).is_dir():
        raise InputError("names no architecture that is trained", where=config, fix="give one as encore_llama31_8b.py")
    local = None if made.model.architecture else Path(made.model.path)
    return matrix_entries(backbone_config(made.model, local)), made.train.epochs


def works(pairs: Sequence[str], benchmarks: Sequence[str], train: Sequence[str], judged_rules: int) -> list[Work]:
    """The steps that the slice works on, and their FLOPs."""
    number, once, each = tokens_of(pairs)
    sizes = [parameters_of(config) for config in train]
    largest = max(entries for entries, _ in sizes)
    steps = []
    if judged_rules:
        asked = 2 * number * judged_rules * TOKENS_PER_QUESTION
        steps.append(Work("judge", 2 * largest * (each + asked) * SHARES["judge"]))
    for config, (entries, epochs) in zip(train, sizes, strict=True):
        steps.append(Work(f"train {Path(config).stem}", 2 * entries * once * epochs * SHARES["train"]))
    if benchmarks:
        steps.append(Work("score", 2 * largest * tokens_of(benchmarks)[2] * SHARES["score"]))
    return steps


def cost_table(steps: Sequence[Work], accelerator: str, price: float | None = None) -> str:
    """Hours and money of every step, and their sums; without a price that of `PRICES`, and where to look for today's.

    >>> print(cost_table([Work("train", 9.07776e18)], "v5e:4x4", 1.0))
    estimate on v5e:4x4 (16 chips), at 40 % of the peak and 1.00 dollars for a chip's hour
    set up            0.25 h         4.00
    train             2.00 h        32.00
    together          2.25 h        36.00
    """
    tpu, told = parse_slice(accelerator), price is not None
    price = price if told else PRICES[tpu.generation]
    rows = [("set up", SETUP_HOURS)]
    rows += [(step.name, step.flops / (tpu.chips * tpu.peak_flops * MFU) / 3600) for step in steps]
    rows.append(("together", sum(hours for _, hours in rows)))
    width = max(12, *(len(name) for name, _ in rows))
    head = (
        f"estimate on {tpu.name} ({tpu.chips} chips), at {MFU:.0%} of the peak".replace("%", " %")
        + f" and {price:.2f} dollars for a chip's hour"
    )
    table = [f"{name:<{width}}{hours:>10.2f} h{hours * tpu.chips * price:>13,.2f}" for name, hours in rows]
    source = f"the price is of 2025 and unchecked: see {PRICE_PAGE}, and give today's with --price=DOLLARS"
    return "\n".join([head, *table, *([] if told else [source])])


def benchmark_rows(folders: Sequence[Path]) -> str:
    """Benchmark runs as one Markdown table: every section's score in percent with its interval."""
    lines = ["| run | benchmark | section | score, % | 95 % | n |", "|---|---|---|---|---|---|"]
    for folder in folders:
        results = read_json(folder / "results.json", dict[str, object], fix="finish the run first", max_bytes=1 << 30)
        try:
            sections = results["scores"] or {"all": next(iter(results["subsets"].values()))}
            for name, entry in sections.items():
                low, high = entry.get("low"), entry.get("high")
                bounds = f"{100 * low:.1f} to {100 * high:.1f}" if low is not None and high is not None else ""
                score = "missing" if entry["score"] is None else f"{100 * entry['score']:.1f}"
                lines.append(
                    f"| {folder.name} | {results['benchmark']} | {name} | {score} | {bounds} | {results['n']} |"
                )
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            problem = f"is not a benchmark's results: {type(error).__name__} {error}"
            raise InputError(problem, where=str(folder), fix="name the folder of a benchmark run") from None
    return "\n".join(lines) + "\n"


def parser_of(command: str) -> Parser:
    """The flags of one of the `COMMANDS`."""
    parser = Parser(description=COMMANDS[command], prog=f"python -m experiments.pod {command}")
    if command in ("data", "merge"):
        parser.add_argument("files", nargs="+")
    elif command == "labels":
        parser.add_argument("file")
    if command in ("merge", "labels"):
        parser.add_argument("--pool", default="safety_100", help="the rules: a shipped pool, or a YAML file")
    if command == "table":
        parser.add_argument("folders", nargs="+", type=Path)
    if command != "cost":
        parser.add_argument("--out", type=Path, required=True)
        return parser
    parser.add_argument("--accelerator", required=True, help="v5e:4x4, v5p:2x2x4, ...")
    parser.add_argument("--train", action="append", required=True, help="configuration to train; may be repeated")
    parser.add_argument("--pairs", action="append", required=True, help="file of comparisons; may be repeated")
    parser.add_argument("--benchmark", action="append", default=[], help="file to score; may be repeated")
    parser.add_argument("--judged-rules", type=int, default=0, help="rules that the slice rates; 0: a server does")
    parser.add_argument("--price", type=float, help=f"dollars of a chip's hour, see {PRICE_PAGE}; else one of 2025")
    return parser


NUMBERS = {
    "price": (0, 999_999, "dollars for a chip's hour, such as 1.20"),
    "judged_rules": (0, 999_999, "how many rules the slice rates, 0 if a server does"),
}
"""Least and most of every flag that is a number, and what it is."""


def check_numbers(given: argparse.Namespace) -> None:
    """Makes sure that numbers can be meant.

    Raises:
      InputError: one is negative, not finite, or beyond anything that is asked for.
    """
    for name, (least, most, what) in NUMBERS.items():
        value = getattr(given, name, None)
        if value is not None and not least <= value <= most:
            fix = f"give {what}: from {least} to {most}"
            raise InputError(f"is {value}", where=f"--{name.replace('_', '-')}", fix=fix)


COMMANDS = {
    "data": "Several raw files as one file of comparisons.",
    "merge": "A file of comparisons with the ratings that another file has of some of them.",
    "labels": "Comparisons labelled by the rules that they were rated on.",
    "cost": "What a run will cost, roughly, before anything is paid for.",
    "table": "Benchmark runs as one table.",
}


def main(arguments: Sequence[str]) -> None:
    with one_line_errors():
        if asks_for_help(arguments[:1]):
            print(__doc__.strip())
            return
        if not arguments or arguments[0] not in COMMANDS:
            problem = "there is no such command" if arguments else "is missing"
            raise InputError(
                problem, where=" ".join(arguments[:1]) or "a command", fix=f"use one of {', '.join(COMMANDS)}"
            )
        command, *rest = arguments
        given = parser_of(command).parse_args(rest)
        if command == "data":
            print(join_files(given.files, given.out))
        elif command == "merge":
            print(merge_ratings(given.files, given.pool, given.out))
        elif command == "labels":
            print(write_labels(given.file, given.pool, given.out))
        elif command == "cost":
            check_numbers(given)
            steps = works(given.pairs, given.benchmark, given.train, given.judged_rules)
            print(cost_table(steps, given.accelerator, given.price))
        else:
            text = benchmark_rows(given.folders)
            with atomic_path(given.out) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(text, end="")


if __name__ == "__main__":
    main(sys.argv[1:])
