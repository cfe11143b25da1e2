"""Comparisons rated by a judge, in one call: what is known comes from a journal, and only the rest is asked."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.memory_rows import is_path, is_table
from encore_jax.data.readers import read_comparisons
from encore_jax.data.wheels import cache_folder
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.judge.answering import Questions, ask, nothing_rated
from encore_jax.judge.export import rated_comparisons, summary
from encore_jax.judge.journal import CHUNK, Journal
from encore_jax.judge.judged import JudgedComparisons
from encore_jax.judge.judges import Table
from encore_jax.judge.question import Judge, Status, critical_questions, rating_questions
from encore_jax.judge.run import MAX_FAILURES_IN_A_ROW
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool
from encore_jax.rules.rule import as_pool

NO_ANSWER = "no answer"
_FLAG = re.compile(r"--config\.judge\.(?:\w+\.)*(\w+)(?:=('[^']*'|\S+))?")


def rate(
    comparisons: Iterable[Comparison] | str | Path | object,
    pool: RulePool | Iterable[str] | object,
    *,
    judge: Judge | Table,
    rules: Sequence[Sequence[str]] | None = None,
    journal: str | Path | None = None,
    policy: RetryPolicy | None = None,
    hopeless: int = MAX_FAILURES_IN_A_ROW,
) -> JudgedComparisons:
    """Asks a judge for the rating of every response on every rule.

    Every answer is in the journal the moment it is given, so a call that was interrupted asks only what is missing, and
    the same call again asks nothing. An answer is kept under the judge (its model, wording and decoding), the text and
    the rule's words: where one of them changes, the judge is asked again.

    Args:
      comparisons: labelled or not, of any number of responses; or whatever `read_comparisons` reads. Ratings that they
        carry are replaced.
      pool: the rules; sentences will do.
      judge: from `encore_jax.judges`: `server`, `local`, `model` or `table`; or any other `Judge`.
      rules: for every comparison the names of the rules that are asked about; all rules if left out.
      journal: file of all answers; one for each judge in the user's cache folder if left out. The result says where.
      policy: how often a question without a rating is asked.
      hopeless: stop after so many answers in a row without a rating; 0 never does.

    Returns:
      The comparisons with their ratings, from 0 to 1, higher is better; and what became of all questions.

    Raises:
      InputError: nothing to rate, the judge cannot go on, or not a single question has a rating. What was answered is
        in the journal.

    >>> import tempfile
    >>> import encore_jax as enc
    >>> pairs = [{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."}]
    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Bye.", "kind": 1}]
    >>> journal = Path(tempfile.mkdtemp()) / "answers.sqlite"  # left out: a file in the user's cache folder
    >>> rated = enc.rate(pairs, {"kind": "It is kind."}, judge=enc.judges.table(rows), journal=journal)
    >>> rated[0].mask.tolist(), dict(rated.problems)
    ([[True], [False]], {'not in the table': 1})
    """
    records, pool = _records(comparisons), _pool(pool)
    judge, policy = _judge(judge, pool), RetryPolicy() if policy is None else policy
    policy.check()
    questions = _questions(records, pool, rules)
    path = _default_journal(judge) if journal is None else Path(journal)
    try:
        with Journal(path, judge.identity, pool) as opened:
            pending = sum(1 for _ in opened.pending(questions(), policy))
            if pending:
                ask(judge, questions, opened, policy, pending, hopeless=hopeless)
            return _judged(records, pool, questions, opened, policy, rules is not None)
    except InputError as error:
        raise in_python(error) from None


def _records(source: Iterable[Comparison] | str | Path | object) -> list[Comparison]:
    if is_path(source) or is_table(source) or not isinstance(source, Iterable):
        return list(read_comparisons(source))
    records = list(source)
    if not records:
        raise InputError("there is no comparison", where="comparisons", fix="pass at least one")
    if not any(isinstance(one, Comparison) for one in records):
        return list(read_comparisons(records))
    for i, one in enumerate(records):
        if not isinstance(one, Comparison):
            fix = "pass comparisons, as read_comparisons(FILE) gives them"
            raise InputError(f"is a {type(one).__name__}", where=f"record {i}", fix=fix)
    return records


def _pool(rules: object) -> RulePool:
    pool = as_pool(rules)
    if pool is None:
        raise InputError("is None", where="pool", fix='pass a RulePool, or sentences: ["It is kind."]')
    return pool


def _judge(judge: object, pool: RulePool) -> Judge:
    if isinstance(judge, Table):
        return judge.judge(pool)
    if not hasattr(judge, "identity") or not callable(getattr(judge, "answers", None)):
        fix = "pass encore_jax.judges.server(URL, model=NAME), .local(MODEL), .model(REWARD_MODEL) or .table(FILE)"
        raise InputError(f"a {type(judge).__name__} is no judge", where="judge", fix=fix)
    return judge


def _questions(records: list[Comparison], pool: RulePool, rules: Sequence[Sequence[str]] | None) -> Questions:
    if rules is None:
        return functools.partial(rating_questions, records, pool)
    if len(rules) != len(records):
        problem = f"rules of {len(rules)} comparisons, and there are {len(records)}"
        raise InputError(problem, where="rules", fix="give the names of the rules of every comparison")
    chosen: list[tuple[Rule, ...]] = [tuple(pool[name] for name in own) for own in rules]
    return functools.partial(critical_questions, records, chosen)


def _default_journal(judge: Judge) -> Path:
    """A file for each judge, so that two judges do not wait for each other."""
    return cache_folder() / "journals" / f"{judge.identity.kind}-{judge.identity.digest[:16]}.sqlite"


def _judged(
    records: list[Comparison], pool: RulePool, questions: Questions, journal: Journal, policy: RetryPolicy, some: bool
) -> JudgedComparisons:
    problems = outcomes(questions, journal)
    rated, total = problems.pop("", 0), problems.total()
    words = summary(journal)["words"] if problems else {}
    if not rated:
        identity = journal.identity
        again = f"policy=RetryPolicy(failed={2 * policy.failed}, unparsable={2 * policy.unparsable})"
        raise nothing_rated(f"{total:,} questions", problems, words, identity.model, identity.kind, again)
    asked = {question.key for question in questions()} if some else None
    return JudgedComparisons(
        tuple(rated_comparisons(records, journal, pool, asked)),
        pool,
        journal.identity,
        journal.path,
        rated + total,
        dict(problems.most_common()),
        words,
    )


def outcomes(questions: Questions, journal: Journal) -> Counter:
    """How many of the questions have each problem by now; under "" how many have a rating."""
    counts, stream = Counter(), iter(questions())
    while chunk := list(itertools.islice(stream, CHUNK)):
        places = [(bytes.fromhex(q.key.conversation), q.key.response, journal.rule_id(q.key.rule)) for q in chunk]
        rows = journal.rows({q.key.conversation for q in chunk}, "status, problem")
        known = {row[:3]: (row[3], row[4]) for row in rows}
        for place in places:
            status, problem = known.get(place, (Status.FAILED, NO_ANSWER))
            counts["" if status == Status.OK else problem or status] += 1
    return counts


def in_python(error: InputError) -> InputError:
    """The error with command-line flags in its remedy written as arguments.

    >>> hint = '''let it answer: --config.judge.extra='{"top": null}' and --config.judge.system_role=false'''
    >>> in_python(InputError("no", fix=hint)).fix
    "let it answer: extra={'top': None} and system_role=False"
    """
    fixed = InputError(error.problem, where=error.where, fix=_FLAG.sub(_argument, error.fix))
    return fixed


def _argument(flag: re.Match) -> str:
    name, text = flag[1], flag[2]
    if text is None:
        return name
    text = text.strip("'")
    try:
        return f"{name}={decode_json(text, object, where=name)!r}"
    except InputError:
        return f"{name}={text!r}" if text.islower() else f"{name}={text}"
