"""What to do with a panel of judges, in sentences: the first one says what to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from encore_jax.evaluation.panel import PanelReliability
from encore_jax.evaluation.panel_judges import JudgeReliability
from encore_jax.formats import fixed, percent, points

MOST_NAMES = 6
SCALES_DIFFER = 3.0
"""Judges whose ratings spread so many times as wide as another's outweigh it in a mean."""


def panel_recommendation(found: PanelReliability) -> str:
    """Two to five sentences for the first lines of a report."""
    return " ".join([_use(found), *_scales(found), *_why(found), *_worth(found), *_next(found)])


def left_out(found: PanelReliability) -> tuple[str, ...]:
    """Judges that are better left out: strays, and those without whom the labels say that the panel is better."""
    harmful = {line.judge for line in found.judges if line.without_low > 0}
    return tuple(line.judge for line in found.judges if line.judge in harmful or line.judge in found.strays())


def best_alone(found: PanelReliability) -> JudgeReliability | None:
    """The judge that is better than the whole panel by the labels, and than chance, if there is one."""
    better = [line for line in found.judges if line.alone_low > 0 and line.low > 0.5]
    return max(better, key=lambda line: line.alone) if better else None


def _use(found: PanelReliability) -> str:
    names = [line.judge for line in found.judges]
    out = left_out(found)
    kept = [name for name in names if name not in out]
    what = "draws" if found.of_draws else "judges"
    if alone := best_alone(found):
        return f"Use {alone.judge} alone."
    if found.columns.worse_than_chance:
        accuracy = percent(found.columns.accuracy[found.columns.recommended])
        return (
            f"Use none of these {what}: by the labels their reward is right in {accuracy} % only, less than chance. "
            "Are the ratings turned round (higher must be better), or the labels?"
        )
    if found.split == "judges" and not found.meant():
        return f"Do not average these {what}: the panel splits."
    if meant := found.meant():
        kept = [name for name in meant if name not in out] or list(meant)
        out = [name for name in names if name not in kept]
    elif _nothing_in_common(found):
        return f"Trust none of these {what} yet: they have too little in common."
    if out:
        use = f"the mean of {named(kept)}" if len(kept) > 1 else f"{kept[0]} alone"
        return f"Leave out {named(out)}, and use {use}."
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
        parts = "; ".join(map(named, found.parts().values()))
        if found.ways.judges_differ:
            yield f"They go against each other: {parts}. Is a scale turned round?"
        else:
            yield f"These agree among themselves only: {parts}."
        yield _settled(found) or "Nothing in the ratings says who is right."
        return
    if found.split == "rules":
        yield "The judges agree rule by rule, but their rules split."
        yield _settled(found) or "Label some pairs, or name an anchor (panel_reliability(..., anchor=(judge, rule)))."
    yield from _judges_at_fault(found, labels)
    yield from _reversed_rules(found)


def _judges_at_fault(found: PanelReliability, labels: int) -> Iterator[str]:
    for line in found.judges:
        if line.judge in found.strays():
            r = f"r = {fixed(line.rest)} [{fixed(line.rest_low)}, {fixed(line.rest_high)}] with the rest"
            if line.rest_high < 0:
                yield f"{line.judge} goes against {_rightly(found, 'the others')} ({r}): is its scale turned round?"
            else:
                yield f"{line.judge} does not follow the others ({r})."
        elif line.without_low > 0:
            gain = f"{points(line.without)} points on {labels} labelled pairs"
            yield f"Without {line.judge} the panel is better by {gain}."


def _reversed_rules(found: PanelReliability) -> Iterator[str]:
    """Rules that go against the others with every judge, so that a mean over rules would cancel."""
    against = [rule for rule, way in zip(found.rules, found.ways.rules, strict=True) if way < 0]
    if against and not found.ways.judges_differ:
        it, others = "it" if len(against) == 1 else "them", _rightly(found, "the other rules")
        yield f"On {named(against)} all of them go against {others}: turn {it} round before averaging."


def _rightly(found: PanelReliability, others: str) -> str:
    """What a judge or rule goes against."""
    told = {"anchor": "what the anchor speaks for", "labels": "what the labels speak for"}
    return told.get(found.columns.settled_by, others)


def _scales(found: PanelReliability) -> Iterator[str]:
    """A mean of ratings on scales of different size is the rating of the widest."""
    lines = [line for line in found.judges if line.spread > 0 and line.judge not in left_out(found)]
    if found.split == "judges" or best_alone(found) or len(lines) < 2:
        return
    widest, narrowest = max(lines, key=lambda line: line.spread), min(lines, key=lambda line: line.spread)
    ratio = widest.spread / narrowest.spread
    if ratio > SCALES_DIFFER:
        yield (
            f"Bring them to one scale first: the ratings of {widest.judge} spread {ratio:.3g} times as wide as "
            f"those of {narrowest.judge}."
        )


def _worth(found: PanelReliability) -> Iterator[str]:
    if found.ways.judges_differ:
        return  # correlations of either sign have no mean that says anything
    between, what = found.between, "draws" if found.of_draws else "judges"
    if between.correlation != between.correlation:
        yield f"How alike the {what} are cannot be told: too few pairs are rated by two of them."
        return
    yield (
        f"{len(found.judges)} {what} are worth {fixed(between.effective, 1)} independent ones "
        f"[{fixed(between.effective_low, 1)}, {fixed(between.effective_high, 1)}]: on one rule two of them correlate "
        f"by {fixed(between.correlation)}."
    )


def _next(found: PanelReliability) -> Iterator[str]:
    if not max(line.labels for line in found.judges):
        yield "There are no labels: that judges agree on quality, ratings alone cannot show."
    open_question = found.split and not _settled(found)
    if (open_question or _nothing_in_common(found)) and best_alone(found) is None:
        yield "Label pairs of which some judges prefer either response ('Label next' names some if the panel splits)."


def _settled(found: PanelReliability) -> str:
    """What an anchor or labels say of a split; "" if nothing does."""
    if found.columns.camp is None:
        return ""
    if found.split == "rules":
        return "The anchor or the labels say which part is meant, and the panel's reward follows it."
    return f"The anchor or the labels speak for {named(found.meant() or ['no judge'])}."


def named(names: Sequence[str]) -> str:
    """Some names, and how many more.

    >>> named(["a", "b"])
    'a, b'
    """
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
