"""Which columns of a wide table are rules, where nobody names them: decided by name and by values, and always said.

A column that is certainly none (an id, a row number, a year) is left out; one that may be none is counted. Both are
told in the first lines of every result, with what to type for the other way: nothing is silently in or out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from encore_jax.data.rating_cells import SIGNED, USUAL, Cell, infer_scale
from encore_jax.data.rule_names import AUTOMATIC, RuleNames, asked_rules
from encore_jax.data.sum_columns import summing

Cells = Mapping[str, Sequence[Cell | None]]

_BY_PROGRAMS = re.compile(r"index|unnamed: \d+(_level_\d+)?|__index_level_\d+__")
"""What pandas calls its row numbers."""
_WHO = frozenset(
    "annotator rater worker labeler labeller reviewer assessor evaluator participant seed timestamp datetime row rows "
    "fold split batch line uuid uid guid idx index rownum rownumber lineno id".split()
)
"""Names of columns that are never ratings, whatever they hold."""
_OF = _WHO | frozenset(
    "prompt response question answer item sample example session task user model doc document message conversation "
    "dialog dialogue turn thread comparison pair record judge query completion instruction".split()
)
"""Words before "id" or "number"."""
_NUMBER = frozenset("id ids idx index no nr num number uuid uid".split())
_MEASURES = frozenset(
    "length len chars characters char words word tokens token count counts cnt year month day hour date time duration "
    "seconds secs sec ms minutes price cost costs age turn turns step epoch size rank position version model system "
    "user source judge latency temperature total sum average avg mean median std hash id ids idx num number".split()
)
"""Last words of the names of measurements and labels; a rule may be called so, too."""
_COUNTED = frozenset("n num nb number".split())
"""First words of the names of counts."""
_LABELS = frozenset("label labels winner gold target truth preferred preference chosen verdict choice".split())
"""Words of columns that may say what people think of a response as a whole."""
_CHOICES = frozenset("winner preferred preference prefer prefers chosen choice better best favorite favourite".split())
"""Words of columns that may say which of several responses people prefer."""
FEWEST_NUMBERED, FEWEST_DIFFERENT = 8, 20
"""Values from which numbers that count up, and numbers that are all different, are none of ratings."""
MOST_LEVELS = 11
"""Of scales of whole numbers but those up to 100: ratings that are sorted count up, too."""
SPARSE = 10
"""A column with so many times fewer ratings than another may be one of remarks."""
BEYOND = 1000 * 100.0
"""So far beyond the highest end of a usual scale, whole numbers are ids or times."""
YEARS = 1900, 2100


class RuleChoice(NamedTuple):
    """What was decided.

    Attributes:
      rules: those that count, as the table calls them.
      left_out: columns that are taken for no rules, and why.
      doubtful: rules that may be none, and why.
    """

    rules: tuple[str, ...]
    left_out: Mapping[str, str] = MappingProxyType({})
    doubtful: Mapping[str, str] = MappingProxyType({})

    def lines(self, asked: RuleNames) -> tuple[str, ...]:
        """What a reader must know of it, in sentences; none where nothing was doubtful.

        >>> choice = RuleChoice(("kind", "length"), {"year": "as of years"}, {"length": "by its name"})
        >>> print(*choice.lines(RuleNames((), "--rules=")), sep="\\n")
        Left out, because it is no rule: 'year' (as of years). If it is one: --rules=+year
        Counted as a rule, but perhaps none: 'length' (by its name). If it is none: --rules=-length
        """
        found = []
        for sign, columns in (("+", self.left_out), ("-", self.doubtful)):
            if not columns:
                continue
            one, what = len(columns) == 1, sign == "+"
            listed = "; ".join(f"{name!r} ({why})" for name, why in columns.items())
            if what:
                head = f"Left out, because {'it is no rule' if one else 'they are no rules'}"
                wish = "If it is one" if one else "If some are"
            else:
                head = f"Counted as {'a rule, but perhaps none' if one else 'rules, but perhaps none'}"
                wish = "If it is none" if one else "If some are none"
            found.append(f"{head}: {listed}. {wish}: {asked.typed(sign, list(columns))}")
        return tuple(found)


def choose_rules(cells: Cells, asked: RuleNames = AUTOMATIC) -> RuleChoice:
    """The rules of a table among the columns that hold ratings, or something like ratings.

    Args:
      cells: of every column, or pair of columns, that could be a rule.
      asked: what the user names.

    Raises:
      InputError: as `asked_rules`.

    >>> grades = [Cell(value) for value in (4, 2, 5, 1, 3, 3, 2, 4)]
    >>> found = choose_rules({"kind": grades, "born": [Cell(2019 + i % 3) for i in range(8)], "length": grades[::-1]})
    >>> found.rules, found.left_out, list(found.doubtful)
    (('kind', 'length'), {'born': 'whole numbers from 2019 to 2021, as of years'}, ['length'])
    """
    names = list(cells)
    wanted, plus, minus = asked_rules(names, asked)
    if wanted:
        return RuleChoice(tuple(wanted))
    values = {rule: _Values.of(own) for rule, own in cells.items()}
    others = {rule: own for rule, own in values.items() if own.usual and not own.numbered and not _suspect(rule)}
    left_out: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for rule in names:
        if rule in plus or rule in minus:
            continue
        reference = {name: own for name, own in others.items() if name != rule}
        sure, why = _judge(rule, values[rule], reference, values)
        if why:
            (left_out if sure else doubtful)[rule] = why
    rules = tuple(rule for rule in names if rule not in left_out and rule not in minus)
    sums = {rule: why for rule, why in summing(cells, rules).items() if rule not in plus}
    left_out, rules = left_out | sums, tuple(rule for rule in rules if rule not in sums)
    told = {rule: why for rule, why in left_out.items() if not (values[rule].numbered and _by_programs(rule))}
    return RuleChoice(rules, told, doubtful)


class _Values(NamedTuple):
    """What a column's numbers look like: lowest and highest, whether whole, how many different ones, of how many."""

    low: float
    high: float
    whole: bool
    levels: int
    count: int
    numbered: bool
    says_scale: bool

    @classmethod
    def of(cls, cells: Sequence[Cell | None]) -> _Values:
        known = [cell for cell in cells if cell is not None]
        x = np.array([cell.value for cell in known], np.float64)
        if not len(x):
            return cls(0, 0, False, 0, 0, False, False)
        whole = bool((x == np.round(x)).all())
        steps = np.diff(x)
        counts_up = whole and len(steps) > 0 and bool(((steps == 0) | (steps == 1)).all())
        levels = len(np.unique(x))
        numbered = counts_up and (levels == len(x) >= FEWEST_NUMBERED or levels > MOST_LEVELS)
        return cls(x.min(), x.max(), whole, levels, len(x), numbered, any(cell.top is not None for cell in known))

    @property
    def usual(self) -> bool:
        """Whether they lie on a scale that people use."""
        return self.says_scale or self.count > 0 and self._scale in (*USUAL, *SIGNED)

    @property
    def _scale(self) -> tuple[float, float]:
        return infer_scale([Cell(self.low), Cell(self.high)])

    def like(self, others: Iterable[_Values]) -> bool:
        """Whether they lie on the scale of one of the others, and are whole where that one's are."""
        return any(
            (other.says_scale or other._scale[0] <= self.low and self.high <= other._scale[1])
            and (self.whole or not other.whole or other.says_scale)
            for other in others
        )

    def words(self) -> str:
        kind = "whole numbers" if self.whole else "numbers"
        low, high = (f"{end:.{12 if self.whole else 4}g}" for end in (self.low, self.high))
        return f"{kind} from {low} to {high}" if self.levels > 1 else f"nothing but {low}"


def _by_programs(rule: str) -> bool:
    return bool(_BY_PROGRAMS.fullmatch(rule.strip().lower()))


def _words(rule: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", rule.strip()).lower())


def is_never_rating(rule: str) -> bool:
    """Whether a column of this name holds no ratings, whatever its values.

    >>> [is_never_rating(name) for name in ("annotator_id", "Row number", "Unnamed: 7", "personal_id", "length")]
    [True, True, True, False, False]
    """
    words = _words(rule)
    if _by_programs(rule):
        return True
    return bool(words) and (
        words[-1] in _WHO and len(words) == 1 or words[-1] in _NUMBER and len(words) > 1 and set(words[:-1]) <= _OF
    )


def is_measure(rule: str) -> bool:
    """Whether a column of this name may be a measurement or a count, and no rule.

    >>> [is_measure(name) for name in ("word_count", "n_tokens", "responseLength", "year-appropriate", "kind")]
    [True, True, True, False, False]
    """
    words = _words(rule)
    return bool(words) and (words[-1] in _MEASURES or len(words) > 1 and words[0] in _COUNTED)


def is_label(rule: str) -> bool:
    """Whether a column of this name may say what people think of a response as a whole.

    >>> [is_label(name) for name in ("label", "Human label", "winner", "kind")]
    [True, True, True, False]
    """
    return bool(words := _words(rule)) and words[-1] in _LABELS


def is_choice(column: str) -> bool:
    """Whether a column of this name may say which of several responses people prefer.

    >>> [is_choice(name) for name in ("winner", "Better answer", "Which do you prefer?", "kind")]
    [True, True, True, False]
    """
    return not _CHOICES.isdisjoint(_words(column))


def _suspect(rule: str) -> bool:
    return is_never_rating(rule) or is_measure(rule) or is_label(rule)


def _judge(rule: str, own: _Values, others: Mapping[str, _Values], every: Mapping[str, _Values]) -> tuple[bool, str]:
    """Whether a column is certainly no rule, and why it may be none; "" for a rule."""
    if own.says_scale:  # "7/10", "80 %", yes
        return False, ""
    if is_never_rating(rule):
        return True, f"by its name; {own.words()}"
    like = own.like(others.values())
    if own.numbered and (own.levels == own.count or not like):
        return True, f"{own.words()}, counted up as row numbers are"
    if own.numbered:
        return False, f"{own.words()}, counted up as row numbers are"
    if is_measure(rule):
        if others and not like:
            return True, f"a measurement by its name; {own.words()}, on no scale of the other rules"
        return False, f"its name may be that of a measurement; {own.words()}"
    if is_label(rule) and len(every) > 1:
        return False, f"by its name it may be people's label, which belongs in a column 'quality'; {own.words()}"
    most = max(other.count for other in every.values())
    if own.count * SPARSE < most:
        return False, f"it holds {own.count} rating{'s' * (own.count != 1)} where others hold {most}"
    if own.usual or not others:
        return False, ""
    if own.whole and YEARS[0] <= own.low and own.high <= YEARS[1]:
        return True, f"{own.words()}, as of years"
    if own.whole and own.levels == own.count >= FEWEST_DIFFERENT:
        return True, f"{own.words()}, all different as ids are"
    if own.whole and own.low > BEYOND:
        return True, f"{own.words()}, as of ids or times"
    return False, f"{own.words()}, on no scale of the other rules"
