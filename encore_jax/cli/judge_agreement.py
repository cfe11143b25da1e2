"""Agreement of the local judge with people: OpenAI's rule-based-rewards gold data, 23 true/false rules per response.

    encore judge-agreement --data=openai-rbr --out=runs/judge_agreement [--model=PATH] [--limit=N]

`--data` is a folder with train.jsonl and test.jsonl of openai/safety-rbr-code-and-data (data/rbr_gold_data). The judge
is SmolLM2-135M-Instruct unless `--model` says otherwise (a Hugging Face folder or GGUF file, or hf://org/name). Every
answer is written down as it comes; a killed run resumes where it was. Writes answers.jsonl, agreement.json and
agreement.md.

Judge's numbers are "judge-rated", people's "human-rated". Per rule: AUC of P(Yes) - P(No) against the human label,
Pearson, Spearman, and Krippendorff's alpha twice: of the verdict (P(Yes) > P(No)) as nominal data, and of the rating
scaled to [0, 1] as interval data.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from absl import logging

from encore_jax.command_line import Parser, check_number, run_command
from encore_jax.composition import rating_entropy
from encore_jax.data import RatedResponse, SkipCounter, read_openai_rbr
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import folder_lock
from encore_jax.data.outputs import check_outputs, in_the_way, local_inputs
from encore_jax.errors import InputError
from encore_jax.evaluation.agreement import agreement, auc, krippendorff_alpha, rating_histogram, share_decided
from encore_jax.json_shape import decode_json, read_bytes
from encore_jax.judge.devices.load_local import load_local_judge
from encore_jax.judge.prompts import find_prompt
from encore_jax.judge.question import Key, Question, Status, conversation_id
from encore_jax.progress import track
from encore_jax.rules import RulePool
from encore_jax.settings import MAX_INT


class _Row(TypedDict):
    """A line of answers.jsonl after the first."""

    key: tuple[str, int, str]
    status: Literal["ok", "unparsable", "failed"]
    rating: float | None
    relevance: float | None
    problem: str
    logprobs: object


_FIELDS = ("status", "rating", "relevance", "problem", "logprobs")
ANSWERS = "answers.jsonl"
OUTPUTS = (ANSWERS, "agreement.json", "agreement.md")
POOL = "openai_rbr_23"
LEVELS = 11
_MOST_ANSWERS = 256 << 20
"""Bytes of ANSWERS: ten thousand responses."""


def main(given: argparse.Namespace) -> None:
    """Asks what has not been asked, then measures.

    Raises:
      InputError: files that make no sense, an output folder that is in use or holds other work, or answers of another
        judge.
    """
    out = Path(given.out)
    inputs = local_inputs({f"{name}.jsonl in --data": Path(given.data) / f"{name}.jsonl" for name in ("train", "test")})
    check_outputs({f"{name} in --out": out / name for name in OUTPUTS}, inputs)
    if given.limit is not None:
        check_number("--limit", given.limit, 1, MAX_INT)
    with folder_lock(out, fix="wait until it ends, or name another folder with --out"):
        theirs = in_the_way(out, OUTPUTS[1:])
        if theirs and not (out / ANSWERS).exists() and not given.overwrite:
            fix = "name another folder with --out, or give --overwrite to replace it"
            raise InputError(f"holds what this command has not made: {', '.join(theirs)}", where=str(out), fix=fix)
        _measured(given, out)


def _measured(given: argparse.Namespace, out: Path) -> None:
    """Reads, asks, measures, writes."""
    pool = RulePool.shipped(POOL)
    records, skips = read(Path(given.data), pool, given.limit)
    judge = load_local_judge(given.model, find_prompt(given.prompt), most_other=given.most_other)
    answers = ask(judge, records, pool, out / ANSWERS)
    result = measure(records, pool, answers, judge.identity.scale)
    result = {
        "label": "judge-rated against human-rated",
        "model": judge.identity.model,
        "prompt": given.prompt,
        "rows": str(skips),
        "skipped": skips.reasons,
    } | result
    for name, text in zip(OUTPUTS[1:], (json.dumps(result, indent=1), table(result)), strict=True):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text + "\n")
    print(table(result))


def read(folder: Path, pool: RulePool, limit: int | None = None) -> tuple[list[RatedResponse], SkipCounter]:
    """Human-rated responses of both files, at most `limit` of them; what is skipped or left out is counted."""
    skips = SkipCounter()
    records = [
        r for name in ("train", "test") for r in read_openai_rbr(folder / f"{name}.jsonl", pool=pool, skips=skips)
    ]
    if limit is not None:
        skips.leave_out(
            f"left out by --limit={limit}, which takes the first", max(0, len(records) - limit), str(folder)
        )
    logging.info("%d responses; %s", skips.kept, skips)
    return records[:limit], skips


def ask(judge, records: list[RatedResponse], pool: RulePool, path: Path) -> dict[Key, dict]:
    """Answers to every rule about every record, those in the file first; new ones are appended as they come."""
    head = json.loads(json.dumps(dataclasses.asdict(judge.identity)))
    answers: dict[Key, dict] = {}
    if path.exists():
        fix = "name another folder with --out"
        content = read_bytes(path, fix=fix, max_bytes=_MOST_ANSWERS)
        whole = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)  # a kill may have cut the last one
        if not whole or decode_json(whole[0], where=f"{path}:1", fix=fix) != head:
            raise InputError("holds answers of another judge", where=str(path), fix=fix)
        for number, line in enumerate(whole[1:], start=2):
            row = decode_json(line, _Row, where=f"{path}:{number}", fix=fix)
            answers[Key(*row["key"])] = {name: row[name] for name in _FIELDS}
    else:
        whole = [json.dumps(head).encode() + b"\n"]
    with atomic_path(path) as temporary:  # without the line that a kill has cut
        temporary.write_bytes(b"".join(whole))
    questions = [
        Question(Key(conversation_id(r.prompt, [r.response]), 0, rule.name), r.prompt, r.response, rule)
        for r in records
        for rule in pool
    ]
    different = {q.key: q for q in questions}
    open_ = [q for key, q in different.items() if key not in answers]
    logging.info(
        "%d questions, %d of them repeated, %d answered before",
        len(questions), len(questions) - len(different), len(different) - len(open_),
    )  # fmt: skip
    with path.open("a") as file:
        for question, answer in track(judge.answers(open_), len(open_), "rating"):
            row = {"status": answer.status, "rating": answer.rating, "relevance": answer.relevance}
            row |= {"problem": answer.problem, "logprobs": answer.evidence.get("logprobs")}
            file.write(json.dumps({"key": question.key} | row) + "\n")
            file.flush()
            answers[question.key] = row
    return answers


def _mean(values: np.ndarray) -> float:
    """NaN of nothing."""
    return float(np.mean(values)) if values.size else float("nan")


def measure(records: list[RatedResponse], pool: RulePool, answers: dict[Key, dict], scale: tuple[float, float]) -> dict:
    """Agreement per rule and over all, on these records; answers about others, of an earlier run, are not counted."""
    keys = [[Key(conversation_id(r.prompt, [r.response]), 0, name) for name in pool.names] for r in records]
    answers = {key: answers[key] for row in keys for key in row}

    def of(row, field):
        values = [answers[key][field] for key in row]
        return [np.nan if value is None else value for value in values]

    ratings = np.array([of(row, "rating") for row in keys], np.float64)
    relevance = np.array([of(row, "relevance") for row in keys], np.float64)
    # as people gave it, true or false, before the reader turned it so that higher is better
    human = np.stack([np.where(pool.directions == 1, r.ratings, 1 - r.ratings) for r in records]).astype(np.float64)
    human[~np.stack([r.mask for r in records])] = np.nan
    known = np.isfinite(ratings) & np.isfinite(human)
    entropy, rated = np.full(len(pool), np.nan), np.isfinite(ratings)
    some = rated.any(0)
    if some.any():
        where = rated[:, some]
        entropy[some] = rating_entropy(np.nan_to_num(ratings[:, some]), where, levels=LEVELS, scale=scale)
    histogram, decided = rating_histogram(ratings, scale, LEVELS), share_decided(ratings, scale)
    rules = []
    for k, name in enumerate(pool.names):
        rating, label = ratings[known[:, k], k], human[known[:, k], k]
        unit = (rating - scale[0]) / (scale[1] - scale[0])
        agreed = agreement(unit, label)
        rules.append({
            "rule": name, "n": agreed.n, "true": int(label.sum()), "auc": auc(rating, label == 1),
            "pearson": agreed.pearson, "spearman": agreed.spearman, "alpha_rating": agreed.alpha,
            "alpha_verdict": krippendorff_alpha(np.stack([rating > 0, label]), "nominal"),
            "said_yes": _mean(rating > 0), "relevance": _mean(relevance[rated[:, k], k]),
            "entropy": float(entropy[k]), "decided": float(decided[k]), "histogram": histogram[k].tolist(),
        })  # fmt: skip
    names = ("auc", "pearson", "spearman", "alpha_rating", "alpha_verdict")
    statuses = [row["status"] for row in answers.values()]
    return {
        "responses": len(records),
        "answers": {str(status): statuses.count(status) for status in Status},
        "problems": {p: sum(row["problem"] == p for row in answers.values()) for p in _problems(answers)},
        "mean": {name: _mean(np.array([rule[name] for rule in rules if np.isfinite(rule[name])])) for name in names},
        "rules": rules,
    }


def _problems(answers: dict[Key, dict]) -> list[str]:
    return sorted({row["problem"] for row in answers.values() if row["problem"]})


def table(result: dict) -> str:
    """The numbers per rule in Markdown."""
    columns = {
        "n": "n", "true": "true", "auc": "AUC", "pearson": "Pearson", "spearman": "Spearman",
        "alpha_verdict": "α verdict", "alpha_rating": "α rating", "said_yes": "said yes", "entropy": "entropy",
    }  # fmt: skip

    def cell(value):
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    rows = [["rule", *columns.values()], ["---"] * (1 + len(columns))]
    rows += [[rule["rule"], *(cell(rule[name]) for name in columns)] for rule in result["rules"]]
    rows.append(["mean", *(cell(result["mean"].get(name, "")) for name in columns)])
    answers = ", ".join(f"{count} {status}" for status, count in result["answers"].items())
    title = f"{result['model']}, prompt {result['prompt']}, {result['responses']} responses; answers: {answers}"
    title += f"; {result['rows']}" if "rows" in result else ""
    return f"{result['label']}: {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's flags."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--out", default="runs/judge_agreement")
    parser.add_argument("--model", default="", help="SmolLM2-135M-Instruct if left out")
    parser.add_argument("--prompt", default="yes_no_irrelevant.1")
    most_other = "count an answer as unparsable above this share of probability on none of the offered; 1 never does"
    parser.add_argument("--most-other", type=float, default=1.0, help=most_other)
    parser.add_argument("--limit", type=int, help="only so many responses")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results in the folder that are not this command's"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_command(parse, main, times=True)
