"""Questions as OpenAI batch files, and their results back: `vllm run-batch` and hosted batch interfaces.

A request's `custom_id` says by itself which rating is meant and by whom, so nothing has to be remembered between
writing and ingesting: result and error files may come in any order, in parts, and more than once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from absl import logging

from encore_jax.data.atomic import atomic_path
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.files import open_file
from encore_jax.http.replies import MOST_RAW, error_words
from encore_jax.json_shape import decode_json
from encore_jax.judge.calls.call import Call, by_call, call_digest, question_call, rule_calls
from encore_jax.judge.journal import CONTRADICTS, KNOWN, Journal
from encore_jax.judge.question import Answer, Key, Question, Status
from encore_jax.judge.request import RequestFormat
from encore_jax.judge.run import Questions
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool

ROWS, BYTES = 50_000, 100_000_000
"""A file's requests and bytes at most: half of what hosted interfaces take, or less."""

CHUNK = 1000
LONGEST_LINE = 4 << 20
"""Bytes of one result that are read."""
_NO_LINE = 256 << 20
"""Bytes after which a line is none, and the file of something else."""

_ID = re.compile(r"([0-9a-f]{32})-([0-9]{1,4})-([0-9a-f]{12})-([0-9a-f]{8})")
_CODE = re.compile(r"[\w.-]{1,40}", re.ASCII)


def request_id(key: Key, rule: Rule, judge: str, call: Call = ()) -> str:
    """At most 64 characters, by which `ingest_results` knows what was asked; `judge` is `Identity.digest`.

    Of a call about several rules every rule gives the same.
    """
    asked = call_digest(call)[:12] if call else _rule_digest(rule)
    return f"{key.conversation}-{key.response}-{asked}-{judge[:8]}"


def write_requests(
    folder: Path, questions: Iterable[Question], asking: RequestFormat, *, rows: int = ROWS, size: int = BYTES
) -> list[Path]:
    """Writes requests-00000.jsonl, ... and removes what an earlier call left beyond them.

    The same questions give the same files. Each file appears whole or not at all.

    Args:
      folder: where they go.
      questions: streamed.
      asking: how they are put.
      rows, size: a file's requests and bytes at most.

    Returns:
      The files, in order.
    """
    if rows < 1 or size < 1:
        raise InputError(f"got {rows} rows and {size} bytes", where="write_requests", fix="use at least 1 of each")
    lines, files = _lines(questions, asking), []
    line = next(lines, None)
    while line is not None:
        path = folder / f"requests-{len(files):05}.jsonl"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            written = 0
            while line is not None and written < rows and (not written or file.tell() + len(line) <= size):
                file.write(line)
                written += 1
                line = next(lines, None)
        files.append(path)
    for path in sorted(folder.glob("requests-*.jsonl")):
        if path not in files:
            path.unlink()
    return files


def _lines(questions: Iterable[Question], asking: RequestFormat) -> Iterator[bytes]:
    for question, *_ in by_call(questions):
        call = question_call(question)
        request = {
            "custom_id": request_id(question.key, question.rule, asking.identity.digest, call),
            "method": "POST",
            "url": asking.path,
            "body": asking.body(question),
        }
        yield json.dumps(request, ensure_ascii=False).encode() + b"\n"


def ingest_results(
    paths: Sequence[Path], asking: RequestFormat, journal: Journal, pool: RulePool, conversations: Collection[str]
) -> SkipCounter:
    """Records what result and error files say; reading a file again, or its rest later, changes nothing else.

    Args:
      paths: in any order.
      asking: how the questions were put.
      journal: of `asking.identity`.
      pool: the rules asked about.
      conversations: the ids that were asked about.

    Returns:
      How many lines became answers (those about several rules count once), and why others did not: broken, too long,
      truncated, of another judge (or of other settings), about rules or conversations that are not asked about, known
      already, or a second, other answer.

    Raises:
      InputError: a file cannot be read.
    """
    asked = _asked_together(pool, asking.identity.rules_per_call)
    skips = SkipCounter()
    parsed = (
        _result(line, where, whole, skips) for path in sorted(paths) for where, line, whole in _lines_of(path, skips)
    )
    results = (result for result in parsed if result is not None)
    while chunk := list(itertools.islice(results, CHUNK)):
        met: dict[Key, list[Answer]] = {}
        for where, row in chunk:
            keys = _keys(row["custom_id"], asked, asking.identity.digest, conversations, where, skips)
            new, known = [], ""
            for key, answer in zip(keys, _answers(row, asking, len(keys)), strict=True):
                why = _met(met.get(key, ()), answer) or journal.seen(key, answer)
                known = known or why
                if not why:
                    met.setdefault(key, []).append(answer)
                    new.append((key, answer))
            if new:
                journal.record_all(new)
                skips.kept += 1
            elif keys:
                skips.skip(known, where)
        journal.flush()
    return skips


def _asked_together(pool: RulePool, rules_per_call: int) -> dict[str, tuple[str, ...]]:
    """The names of the rules that a request asks about, by the digest in its id."""
    calls = rule_calls(pool, rules_per_call)
    together = {call_digest(call)[:12]: tuple(rule.name for rule in call) for call in calls}
    return together or {_rule_digest(rule): (rule.name,) for rule in pool}


def _met(answers: Sequence[Answer], answer: Answer) -> str:
    """As `Journal.seen`, of answers that are on their way to it."""
    if any(same.problem == answer.problem and same.evidence == answer.evidence for same in answers):
        return KNOWN
    rated = [same for same in answers if same.status is Status.OK]
    return (CONTRADICTS if answer.status is Status.OK and rated[0].rating != answer.rating else KNOWN) if rated else ""


def _lines_of(path: Path, skips: SkipCounter) -> Iterator[tuple[str, bytes, bool]]:
    """(where, line, whether it ends) of every line that is not blank; of one that is too long no more is held."""
    with open_file(path, fix="put result and error files there") as file:
        for number in itertools.count(1):
            line = file.readline(LONGEST_LINE + 1)
            if not line:
                return
            where = f"{path}:{number}"
            if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
                size = len(line)
                while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    size += len(rest)
                    if size > _NO_LINE:
                        problem = f"a line is longer than {_NO_LINE >> 20} MiB"
                        raise InputError(problem, where=where, fix="this is no file of results; take it away")
                skips.skip("line too long", where)
            elif line.strip(b" \t\r\n\xef\xbb\xbf"):
                yield where, line, line.endswith(b"\n")


def _result(line: bytes, where: str, whole: bool, skips: SkipCounter) -> tuple[str, dict] | None:
    try:
        row = decode_json(line, where=where, replace_surrogates=True)
    except InputError:
        skips.skip("broken line" if whole else "truncated last line", where)
        return None
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        skips.skip("line without custom_id", where)
        return None
    return where, row


def _keys(
    text: str,
    rules: dict[str, tuple[str, ...]],
    judge: str,
    conversations: Collection[str],
    where: str,
    skips: SkipCounter,
) -> list[Key]:
    """What a result answers; nothing where it is not asked about."""
    parts = _ID.fullmatch(text)
    if parts is None:
        skips.skip("unknown custom_id", where)
        return []
    conversation, response, rule, judged_by = parts.groups()
    problem = "answer of another judge, prompt or settings" if judged_by != judge[:8] else ""
    problem = problem or (
        "answer about a rule that is not asked about (another one, or reworded)" if rule not in rules else ""
    )
    problem = problem or (
        "answer about a conversation that is not asked about" if conversation not in conversations else ""
    )
    if problem:
        skips.skip(problem, where)
        return []
    return [Key(conversation, int(response), name) for name in rules[rule]]


def _answers(row: dict, asking: RequestFormat, rules: int) -> list[Answer]:
    """What a result says to each of so many rules."""
    response, error = row.get("response"), row.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    if type(status) is int and status == 200 and isinstance(body, dict):
        return [asking.read(body)] * rules if asking.read_call is None else asking.read_call(body, rules)
    raw = json.dumps(row, ensure_ascii=False)
    evidence = {"raw": raw[:MOST_RAW], "words": error_words(json.dumps(body or error or row, ensure_ascii=False))}
    if type(status) is int and 100 <= status <= 599 and status != 200:
        return [Answer(Status.FAILED, evidence=evidence, problem=f"HTTP {status}")] * rules
    code = error.get("code") if isinstance(error, dict) else None
    named = isinstance(code, str) and _CODE.fullmatch(code)
    return [Answer(Status.FAILED, evidence=evidence, problem=f"batch error {code}" if named else "batch error")] * rules


def _rule_digest(rule: Rule) -> str:
    return hashlib.sha256(f"{rule.name}\0{rule.text}".encode()).hexdigest()[:12]


def read_batch_results(
    folder: Path, questions: Questions, requests: RequestFormat, journal: Journal, rules: Sequence[Rule]
) -> bool:
    """Records the result files that lie in FOLDER/results; says whether there was any line in them."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    asked = {question.key.conversation for question in questions()}
    skips = ingest_results(sorted(results.glob("*.jsonl")), requests, journal, rules, asked)
    logging.info("results: %s", skips)
    return bool(skips.kept or skips.reasons)


def write_batch_requests(
    folder: Path, questions: Questions, requests: RequestFormat, journal: Journal, policy: RetryPolicy
) -> list[Path]:
    """Writes FOLDER/requests-*.jsonl with every question that is open; no file where none is."""
    return write_requests(folder, journal.pending(questions(), policy), requests)
