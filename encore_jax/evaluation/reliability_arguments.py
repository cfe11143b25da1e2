"""Arguments of `encore_jax.reliability` and `encore_jax.panel_reliability`: what is none of use is said in one line.

Letters: N comparisons or responses, n responses of each, K rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.composition.checks import real_number, refuse_masked, shortened, whole_number
from encore_jax.data.orientation import Scale, checked_scale
from encore_jax.data.scales import scales_by_rule
from encore_jax.data.stray import check_stray
from encore_jax.errors import InputError

MOST_DRAWS = 100_000
"""Of the bootstrap: a hundred times as many as intervals need."""

MOST_CORRELATIONS = 1_000_000_000
"""Of all draws together: 4 GB."""


def refuse_rounded(array: np.ndarray) -> None:
    """Raises InputError for a whole number that float64 does not hold, such as a time in nanoseconds."""
    if array.dtype.kind in "iu":
        large = (array > 2**53) | (array < -(2**53)) if array.dtype.itemsize == 8 else np.zeros(0, bool)
        values = array[large].tolist() if large.any() else []
    else:
        values = [x for x in array.ravel() if isinstance(x, int | np.integer)] if array.dtype.kind == "O" else []
    for value in values:
        if abs(value) > 2**53 and abs(value) < 2**128 and int(float(value)) != int(value):
            fix = "subtract a constant from each rule's ratings, e.g. their minimum: only differences count"
            raise InputError(f"{value} has too many digits for float64", where="ratings", fix=fix)


def check_numbers(labels: int, draws: int, seed: int, tau: float, fewest_draws: int = 1) -> None:
    """Raises InputError unless these are numbers to work with."""
    whole_number(labels, "labels", 1, why="how many comparisons to name")
    whole_number(draws, "draws", fewest_draws, MOST_DRAWS, why="how often to resample")
    whole_number(seed, "seed", 0, 2**64)
    real_number(tau, "tau", lambda x: x > 0, "pass a positive temperature; the paper's is 2")


def check_on_scale(
    ratings: Float[np.ndarray, "N K"],
    mask: Bool[np.ndarray, "N K"],
    names: Sequence[str],
    scale: Scale | None,
    responses: int = 1,
    numbers: Int[np.ndarray, " N"] | None = None,
) -> None:
    """Raises InputError for a rating off the scale; where none is given, for one far from all others of the array.

    Args:
      ratings, mask: of responses, those of a comparison one after the other.
      names, scale: of the rules.
      responses: of each comparison; 1 where they were rated alone.
      numbers: of the comparisons, where every two responses of one stand here as a pair.
    """
    values = {rule: ratings[mask[:, k], k].astype(np.float64) for k, rule in enumerate(names)}
    rows = {rule: np.flatnonzero(mask[:, k]) for k, rule in enumerate(names)}

    def place(rule: str, i: int) -> str:
        number, side = divmod(int(rows[rule][i]), responses)
        if responses == 1:
            return f"response {number}"
        if numbers is None:
            return f"comparison {number}, response {side}"
        pairs = int((numbers == numbers[number]).sum())
        return f"comparison {numbers[number]}" + (f", response {side}" if pairs == 1 else "")

    if scale is None:
        ranges = {rule: (own.min(initial=np.inf), own.max(initial=-np.inf)) for rule, own in values.items()}
        check_stray(values, scales_by_rule(ranges), place, "give scale=(LOWEST, HIGHEST)")
        return
    low, high = checked_scale(scale)
    for rule, own in values.items():
        for i in np.flatnonzero((own < low) | (own > high))[:1]:
            problem = f"{own[i]:g} is not on the scale from {low:g} to {high:g}"
            raise InputError(problem, where=f"{place(rule, i)}, rule {rule!r}", fix="correct it, or give its scale")


def check_anchor(anchor) -> None:
    """Raises InputError for what is no rule's name."""
    if not isinstance(anchor, str | None):
        raise InputError(f"got {shortened(anchor)}", where="anchor", fix="pass the name of a rule, or leave it out")


def check_room(draws: int, rules: int) -> None:
    """Raises InputError for more correlations of all draws than memory holds."""
    most = MOST_CORRELATIONS // rules**2
    if draws > most:
        fix = f"pass at most {most:,}, or fewer rules"
        raise InputError(f"{draws:,} draws of the correlations of {rules} rules", where="draws", fix=fix)


def checked_names(count: int, rules: Sequence[str] | None) -> tuple[str, ...]:
    """Names of K rules; "rule k" where none are given.

    Raises:
      InputError: fewer than three rules, or not one name of its own for each.
    """
    if count < FEWEST_RULES:
        problem = f"got {count} rule{'s' if count != 1 else ''}; agreement needs at least {FEWEST_RULES}"
        raise InputError(problem, where="reliability", fix="add rules, or weigh them equally")
    if rules is None:
        return tuple(f"rule {k}" for k in range(count))
    if isinstance(rules, str) or not isinstance(rules, Iterable):
        raise InputError(f"is a {type(rules).__name__}, no list of names", where="rules", fix="one name per rule")
    names = tuple(map(str, rules))
    if len(names) != count or len(set(names)) != count:
        problem = f"{len(set(names))} different names for {count} rules"
        raise InputError(problem, where="rules", fix="one name per rule")
    return names


def checked_ids(count: int, ids: Sequence[str] | None) -> tuple[str, ...]:
    """What N comparisons or responses are called; their numbers where nothing is said.

    Raises:
      InputError: not one name for each.
    """
    if ids is None:
        return tuple(map(str, range(count)))
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputError(f"is a {type(ids).__name__}, no list of names", where="ids", fix="one name per comparison")
    names = tuple(map(str, ids))
    if len(names) != count:
        raise InputError(f"{len(names)} names for {count} comparisons", where="ids", fix="one name per comparison")
    return names


def check_no_texts(texts: object) -> None:
    """Refuses texts beside records, which have their own."""
    if texts is not None:
        raise InputError("comparisons carry their own", where="texts", fix="leave it out")


def checked_texts(count: int, texts: Sequence[Sequence[str]] | None) -> Sequence[Sequence[str]] | None:
    """The texts of N comparisons or responses, as they are; None where there are none.

    Raises:
      InputError: not the texts of each, or something that is no text.
    """
    if texts is None:
        return None
    fix = "pass for each comparison [PROMPT, RESPONSE, RESPONSE], in the order of the ratings"
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"is a {type(texts).__name__}, no list of texts", where="texts", fix=fix)
    if len(texts) != count:
        raise InputError(f"has texts of {len(texts)} comparisons, and there are {count}", where="texts", fix=fix)
    for i, own in enumerate(texts):
        if isinstance(own, str) or not isinstance(own, Sequence) or not all(isinstance(text, str) for text in own):
            raise InputError("holds no list of texts", where=f"texts, comparison {i}", fix=fix)
    return texts


def record_ids(records: Sequence, ids: Sequence[str] | None) -> tuple[str, ...]:
    """What records are called; the number of one that has no name.

    Raises:
      InputError: names are given beside theirs.
    """
    if ids is not None:
        raise InputError("comparisons carry their own", where="ids", fix="leave it out")
    return tuple(str(getattr(record, "id", "") or i) for i, record in enumerate(records))


def checked_mask(ratings: np.ndarray, where) -> Bool[np.ndarray, "..."]:
    """The mask, of the ratings' shape; all True where none is given.

    Raises:
      InputError: another shape, or values that are not true or false.
    """
    if where is None:
        return np.ones(ratings.shape, bool)
    refuse_masked(where, "where")
    try:
        mask = np.asarray(where)
    except ValueError:
        mask = np.zeros(0, object)
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError("holds something else than true and false", where="where", fix="pass np.isfinite(ratings)")
    if mask.shape != ratings.shape:
        problem = f"ratings {ratings.shape}, mask {mask.shape}"
        raise InputError(problem, where="where", fix="one mask entry per rating")
    return mask.astype(bool)


def checked_prompt(n: int, prompt) -> np.ndarray:
    """The prompt's number ``[N]`` of every comparison or response; each its own where none is given.

    Raises:
      InputError: another shape, a row without a prompt (None, NaN), or texts among numbers.
    """
    if prompt is None:
        return np.arange(n)
    fix = f"pass a list of {n:,} texts or numbers, equal for equal prompts"
    refuse_masked(prompt, "prompt")
    if isinstance(prompt, str | bytes | Mapping | Set):
        raise InputError(f"is a {type(prompt).__name__}", where="prompt", fix=fix)
    values = prompt if hasattr(prompt, "shape") else list(prompt) if isinstance(prompt, Iterable) else [prompt]
    if hasattr(values, "shape") and len(np.shape(values)) != 1 or len(values) != n:
        shape = np.shape(values) if hasattr(values, "shape") else (len(values),)
        raise InputError(f"has shape {shape}, not ({n},)", where="prompt", fix=fix)
    kinds: dict[str, int] = {}
    numbers: dict = {}
    found = np.zeros(n, int)
    for i, value in enumerate(values.tolist() if hasattr(values, "tolist") else values):
        kind = _kind_of_prompt(value)
        if not kind:
            problem = f"{shortened(value)} tells no prompt, so rows that have it would be taken for one, or for many"
            raise InputError(problem, where=f"prompt, row {i}", fix="give such a row a number or text of its own")
        kinds.setdefault(kind, i)
        if len(kinds) > 1:
            (one, first), (other, second) = kinds.items()
            problem = f"row {first} has {one}, row {second} {other}, which are never equal"
            raise InputError(problem, where="prompt", fix="pass only numbers, or only texts")
        try:
            found[i] = numbers.setdefault(value, len(numbers))
        except TypeError as error:
            raise InputError(f"cannot be compared: {error}", where="prompt", fix="pass numbers or texts") from None
    return found


def _kind_of_prompt(value) -> str:
    """What kind of thing stands for a prompt; "" for what says that there is none."""
    if isinstance(value, bool | np.bool_):
        return "true or false"
    if isinstance(value, int | float | np.number):
        return "a number" if np.isfinite(float(value) if isinstance(value, float) else 0) else ""
    name = type(value).__name__
    return "" if name in ("NoneType", "NAType", "NaTType") else "text" if isinstance(value, str) else f"a {name}"


def refuse_not_finite(ratings: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> None:
    """Raises InputError for the first rating ``[N, K]`` or ``[N, n, K]`` that is not finite, or if all are masked."""
    bad = np.argwhere(mask & ~np.isfinite(ratings))
    if bad.size:
        row, *response, k = bad[0]
        at = f"comparison {row}, response {response[0]}" if response else f"response {row}"
        problem = f"{ratings[tuple(bad[0])]} is not finite ({len(bad)} such)"
        fix = "mask it (where=np.isfinite(ratings)), or rate it again"
        raise InputError(problem, where=f"ratings, {at}, rule {names[k]!r}", fix=fix)
    if not mask.any():
        raise InputError("nothing is rated", where="ratings", fix="pass at least one rating that the mask keeps")
