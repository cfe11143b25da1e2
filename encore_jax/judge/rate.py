"""Comparisons rated by a judge, in one call: what is known comes from a journal, and only the rest is asked.

The result says which ratings there are, and what became of every question.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.jsonl import write_comparisons
from encore_jax.data.memory_rows import is_path, is_table
from encore_jax.data.readers import read_comparisons
from encore_jax.data.wheels import cache_folder
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.export import rated_comparisons, summary
from encore_jax.judge.journal import CHUNK, Journal
from encore_jax.judge.judges import Table
from encore_jax.judge.question import Identity, Judge, Status, critical_questions, rating_questions
from encore_jax.judge.run import MAX_FAILURES_IN_A_ROW, Questions, ask, nothing_rated
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool
from encore_jax.rules.rule import as_pool
from encore_jax.shown import Shown
from encore_jax.terminal_text import one_line

COMPARISONS, POOL = "comparisons.jsonl", "pool.yaml"
MOST_PROBLEMS = 8
"""Kinds of missing ratings that are named; the others are counted together."""

NO_ANSWER = "no answer"
_FLAG = re.compile(r"--config\.judge\.(?:\w+\.)*(\w+)(?:=('[^']*'|\S+))?")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class JudgedComparisons(Shown, Sequence, shown_by="encore_jax.report.judged_page"):
    """Rated comparisons, as a sequence of `Comparison`; what `encore_jax.rate` returns.

    Ratings are oriented (higher is better) and on the scale from 0 to 1; `mask` says which exist.

    Attributes:
      comparisons: with ratings ``[n, K]``, in the order in which they were passed.
      pool: the K rules.
      judge: who rated.
      journal: the file of all answers.
      questions: how many there were, a rule about a response each.
      problems: how many of them have no rating, by what was wrong.
      words: what the judge said the last time, by the same.

    >>> import tempfile
    >>> import encore_jax as enc
    >>> pairs = [enc.Comparison((enc.Message("user", "Hi"),), ("Hello!", "Go."), 0)]
    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Go.", "kind": 1}]
    >>> pool, judge = enc.RulePool.from_sentences({"kind": "It is kind."}), enc.judges.table(rows)
    >>> rated = enc.rate(pairs, pool, judge=judge, journal=Path(tempfile.mkdtemp()) / "answers.sqlite")
    >>> rated[0].ratings.tolist(), rated.rated
    ([[1.0], [0.0]], 2)
    """

    comparisons: tuple[Comparison, ...]
    pool: RulePool
    judge: Identity
    journal: Path
    questions: int
    problems: Mapping[str, int]
    words: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.comparisons)

    def __getitem__(self, index):
        return self.comparisons[index]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.comparisons)

    @property
    def rated(self) -> int:
        """How many questions have a rating."""
        return self.questions - sum(self.problems.values())

    def sentences(self) -> list[str]:
        """How many ratings there are, why others are missing, and where the answers are."""
        responses, rules = len({(c.prompt, r) for c in self for r in c.responses}), len(self.pool)
        lines = [
            f"{self.rated:,} of {self.questions:,} ratings: {responses:,} responses on {rules} "
            f"rule{'s' if rules != 1 else ''}, {self.judge.label} by {one_line(self.judge.model)}."
        ]
        named = sorted(self.problems.items(), key=lambda item: -item[1])
        for problem, count in named[:MOST_PROBLEMS]:
            said = self.words.get(problem, "")
            lines.append(
                f"{count:,} without a rating: {one_line(problem)}{f'; the last one said {said!r}' * bool(said)}."
            )
        if rest := named[MOST_PROBLEMS:]:
            lines.append(f"{sum(n for _, n in rest):,} without a rating for {len(rest)} other reasons.")
        return [*lines, f"Answers are kept in {self.journal}; the same call asks only what is missing."]

    def save(self, folder: str | Path) -> Path:
        """Writes comparisons.jsonl and pool.yaml; the folder is made if it is not there.

        `read_comparisons(folder / "comparisons.jsonl", pool=RulePool.load(folder / "pool.yaml"))` reads them, and
        `encore fit FOLDER`, `encore reliability FOLDER` and `encore ablate FOLDER` take them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.pool.to_yaml(folder / POOL)
        write_comparisons(folder / COMPARISONS, self.comparisons, pool=self.pool)
        return folder


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
    questions = _questions(records, pool, rules, judge.identity.rules_per_call)
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


def _questions(
    records: list[Comparison], pool: RulePool, rules: Sequence[Sequence[str]] | None, rules_per_call: int
) -> Questions:
    if rules is None:
        return functools.partial(rating_questions, records, pool, rules_per_call)
    if rules_per_call != ISOLATED:
        problem = "each comparison has rules of its own, and ratings of a rule beside different ones cannot be compared"
        raise InputError(problem, where="rules", fix="ask one rule per call (rules_per_call=1), or leave rules out")
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
