"""What to do with a panel of judges, in sentences: the first one says what to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from encore_jax.evaluate.formats import fixed, points
from encore_jax.evaluate.panel import PanelReliability
from encore_jax.evaluate.panel_judges import JudgeReliability

MOST_NAMES = 6


def panel_recommendation(found: PanelReliability) -> str:
    """Two to five sentences for the first lines of a report."""
    return " ".join([_use(found), *_why(found), _worth(found), *_next(found)])


def left_out(found: PanelReliability) -> tuple[str, ...]:
    """Judges that are better left out: strays, and those without whom the labels say that the panel is better."""
    harmful = {line.judge for line in found.judges if line.without_low > 0}
    return tuple(line.judge for line in found.judges if line.judge in harmful or line.judge in found.strays())


def best_alone(found: PanelReliability) -> JudgeReliability | None:
    """The judge that is better than the whole panel by the labels, if there is one."""
    better = [line for line in found.judges if line.alone_low > 0]
    return max(better, key=lambda line: line.alone) if better else None


def _use(found: PanelReliability) -> str:
    names = [line.judge for line in found.judges]
    out = left_out(found)
    kept = [name for name in names if name not in out]
    if alone := best_alone(found):
        return f"Use {alone.judge} alone."
    if found.split == "judges":
        return "Do not average these judges: the panel splits."
    if _nothing_in_common(found):
        return "Trust none of these judges yet: they have too little in common."
    what = "draws" if found.of_draws else "judges"
    if out:
        return f"Leave out {named(out)}, and use the mean of {named(kept)}."
    return f"Use the mean of {'both' if len(names) == 2 else f'all {len(names)}'} {what}."


def _nothing_in_common(found: PanelReliability) -> bool:
    """Whether fewer than two judges are left, or it cannot be told that two of them agree at all."""
    kept = len(found.judges) - len(left_out(found))
    return kept < 2 or not any(line.rest_low > 0 for line in found.judges)


def _why(found: PanelReliability) -> Iterator[str]:
    labels = max(line.labels for line in found.judges)
    if alone := best_alone(found):
        yield (
            f"On {labels} labelled pairs it is better than the panel's reward by {points(alone.alone)} points "
            f"[{points(alone.alone_low)}, {points(alone.alone_high)}]."
        )
        return
    if found.split == "judges":
        yield f"These agree among themselves only: {'; '.join(map(named, _parts(found).values()))}."
        yield _settled(found) or "Nothing in the ratings says who is right."
        return
    if found.split == "rules":
        yield "The judges agree rule by rule, but their rules split."
        yield _settled(found) or "Label some pairs, or name an anchor (panel_reliability(..., anchor=(judge, rule)))."
    for line in found.judges:
        if line.judge in found.strays():
            against = line.rest_high < 0
            r = f"r = {fixed(line.rest)} [{fixed(line.rest_low)}, {fixed(line.rest_high)}] with the rest"
            yield (
                f"{line.judge} goes against the others ({r}): is its scale turned round?"
                if against
                else f"{line.judge} does not follow the others ({r})."
            )
        elif line.without_low > 0:
            gain = f"{points(line.without)} points on {labels} labelled pairs"
            yield f"Without {line.judge} the panel is better by {gain}."


def _worth(found: PanelReliability) -> str:
    between, what = found.between, "draws" if found.of_draws else "judges"
    if between.correlation != between.correlation:
        return f"How alike the {what} are cannot be told: too few pairs are rated by two of them."
    return (
        f"{len(found.judges)} {what} are worth {fixed(between.effective, 1)} independent ones "
        f"[{fixed(between.effective_low, 1)}, {fixed(between.effective_high, 1)}]: on one rule two of them correlate "
        f"by {fixed(between.correlation)}."
    )


def _next(found: PanelReliability) -> Iterator[str]:
    if not max(line.labels for line in found.judges):
        yield "There are no labels: that judges agree on quality, ratings alone cannot show."
    open_question = found.split and found.columns.camp is None
    if (open_question or _nothing_in_common(found)) and best_alone(found) is None:
        yield "Label pairs of which some judges prefer either response (label_next names some if the panel splits)."


def _settled(found: PanelReliability) -> str:
    """What an anchor or labels say of a split; "" if nothing does."""
    if found.columns.camp is None:
        return ""
    if found.split == "rules":
        return "The anchor or the labels say which part is meant, and the panel's reward follows it."
    return f"The anchor or the labels speak for {named(_parts(found).get(found.columns.camp, ['no judge']))}."


def _parts(found: PanelReliability) -> dict[int, list[str]]:
    """The judges of every part, by where most of their columns are."""
    camp, names = found.camps_QxK(), [line.judge for line in found.judges]
    parts: dict[int, list[str]] = {}
    for name, row in zip(names, camp.tolist(), strict=True):
        own = [number for number in row if number >= 0]
        if own:
            parts.setdefault(max(set(own), key=own.count), []).append(name)
    return parts


def named(names: Sequence[str]) -> str:
    """Some names, and how many more.

    >>> named(["a", "b"])
    'a, b'
    """
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
