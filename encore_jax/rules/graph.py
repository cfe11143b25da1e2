"""Vetoes and prerequisites between rules: what a weighted sum cannot say.

A *veto* caps the whole reward of a response that is rated too low on one rule. A *prerequisite* lets one rule count
only where another one is met ("if illegal, helpfulness does not count"). Both are part of a rule pool; what they do
to a reward is `encore_jax.composition.rule_graph`'s. Thresholds are on the scale of the ratings, as the judge gives
them; a rule of direction -1 is bounded from above.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from encore_jax.errors import InputError

PLACE = "rule graph"


@dataclass(frozen=True)
class Veto:
    """A response rated worse than a threshold on `rule` gets at most `reward`.

    >>> Veto("lawful", 0.3).reward is None  # the lowest of the scale
    True

    Args:
      rule: name of the rule that vetoes.
      threshold: on the ratings' scale; the veto applies below it (direction -1: above it).
      reward: the highest reward under the veto; None: the lowest of the scale.
      above: said where the file says "above", as it must of a rule of direction -1; None leaves it to the direction.
    """

    rule: str
    threshold: float
    reward: float | None = None
    above: bool | None = None


@dataclass(frozen=True)
class Prerequisite:
    """`rule` counts only for a response that `needs` is met by.

    >>> Prerequisite("helpful", "lawful", 0.5).needs
    'lawful'

    Args:
      rule: name of the rule that counts or not; where it does not, it counts as the lowest of the scale.
      needs: name of the rule that must be met, and must count itself.
      threshold: on the ratings' scale; met at this rating or better (direction -1: at this or a lower one).
      at_most: said where the file says "at_most", as it must of a needed rule of direction -1; None leaves it to that.
    """

    rule: str
    needs: str
    threshold: float
    at_most: bool | None = None


@dataclass(frozen=True)
class RuleGraph:
    """Vetoes and prerequisites of a rule pool.

    Args:
      vetoes, prerequisites: kept as tuples, in their order.
      scale: lowest and highest rating.

    >>> graph = RuleGraph([Veto("lawful", 0.3)], [Prerequisite("helpful", "honest", 0.5)])
    >>> print(graph)
    a rating of lawful below 0.3 vetoes (reward at most 0); helpful counts only where honest is at least 0.5
    >>> graph.check(("lawful", "helpful"), (1, 1))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    encore_jax.errors.InputError: rule graph, prerequisite of 'helpful': there is no rule 'honest'. Fix: use one of ...
    """

    vetoes: tuple[Veto, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        object.__setattr__(self, "vetoes", tuple(self.vetoes))
        object.__setattr__(self, "prerequisites", tuple(self.prerequisites))
        object.__setattr__(self, "scale", tuple(self.scale))

    def __bool__(self) -> bool:
        return bool(self.vetoes or self.prerequisites)

    def __str__(self) -> str:
        said = [
            f"a rating of {veto.rule} below {veto.threshold:g} vetoes (reward at most {self.cap(veto):g})"
            for veto in self.vetoes
        ]
        said += [
            f"{one.rule} counts only where {one.needs} is at least {one.threshold:g}" for one in self.prerequisites
        ]
        return "; ".join(said) or "no vetoes and no prerequisites"

    @property
    def digest(self) -> str:
        """SHA-256 over all of it. (A pool's own digest is of what a judge is asked, and leaves the graph out.)"""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def cap(self, veto: Veto) -> float:
        """The highest reward under a veto."""
        return self.scale[0] if veto.reward is None else veto.reward

    def check(self, rules: Sequence[str], directions: Sequence[int], where: str = PLACE) -> None:
        """Makes sure that it can be composed, and that everything in it has an effect.

        Args:
          rules, directions: of the pool.
          where: the file.

        Raises:
          InputError: an unknown rule, a threshold that nothing or everything meets, a rule with two vetoes, a cycle, or
            a prerequisite that a veto makes pointless.
        """
        low, high = self.scale
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"the scale is {low} to {high}", where=where, fix="write scale: [LOWEST, HIGHEST]")
        known = dict(zip(rules, directions, strict=True))
        vetoes: dict[str, float] = {}
        for veto in self.vetoes:
            at = f"{where}, veto by {veto.rule!r}"
            _known(veto.rule, known, at)
            bound = self._bound(veto.threshold, veto.rule, known[veto.rule], at, ("below", "above"), veto.above)
            if veto.rule in vetoes:
                raise InputError("this rule vetoes twice", where=at, fix="keep one of the two")
            if not low <= self.cap(veto) < high:
                fix = f"cap at {low:g} or more, and below {high:g}"
                raise InputError(
                    f"a reward of at most {veto.reward} caps nothing, or is off the scale", where=at, fix=fix
                )
            vetoes[veto.rule] = bound if self.cap(veto) == low else -math.inf
        edges: dict[tuple[str, str], float] = {}
        for one in self.prerequisites:
            at = f"{where}, prerequisite of {one.rule!r}"
            for name in (one.rule, one.needs):
                _known(name, known, at)
            bound = self._bound(one.threshold, one.needs, known[one.needs], at, ("at_least", "at_most"), one.at_most)
            if (one.rule, one.needs) in edges:
                raise InputError(f"{one.needs!r} is needed twice", where=at, fix="keep one of the two")
            edges[one.rule, one.needs] = bound
            if bound <= vetoes.get(one.needs, -math.inf):
                problem = f"it can decide nothing: wherever {one.needs!r} is not met, its veto applies already"
                raise InputError(problem, where=at, fix="need more than the veto asks for, or leave one of the two out")
        if cycle := _cycle(edges):
            fix = "leave one of these prerequisites out"
            raise InputError(f"{' needs '.join(cycle)}: a circle", where=f"{where}, prerequisites", fix=fix)

    def check_scale(self, scale: tuple[float, float]) -> None:
        """Raises InputError if ratings are on another scale than its thresholds.

        >>> RuleGraph([Veto("kind", 0.3)]).check_scale((1.0, 5.0))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        encore_jax.errors.InputError: rule graph: its thresholds are on a scale from 0 to 1, the ratings from 1 to 5...
        """
        if self and tuple(map(float, scale)) != tuple(map(float, self.scale)):
            (low, high), (first, last) = self.scale, scale
            problem = f"its thresholds are on a scale from {low:g} to {high:g}, the ratings from {first:g} to {last:g}"
            fix = f"write scale: [{first:g}, {last:g}] and its thresholds into the pool's graph"
            raise InputError(problem, where=PLACE, fix=fix)

    def oriented(self, directions: Mapping[str, int]) -> RuleGraph:
        """The same for oriented scores, higher is better: each threshold turned as its rule's ratings are."""
        low, high = self.scale

        def turned(threshold: float, rule: str) -> float:
            return threshold if directions[rule] > 0 else low + high - threshold

        return RuleGraph(
            [Veto(veto.rule, turned(veto.threshold, veto.rule), self.cap(veto)) for veto in self.vetoes],
            [Prerequisite(one.rule, one.needs, turned(one.threshold, one.needs)) for one in self.prerequisites],
            self.scale,
        )

    def of_rules(self, rules: Sequence[str]) -> RuleGraph:
        """What is left of it for fewer rules: everything that names only these."""
        return RuleGraph(
            [veto for veto in self.vetoes if veto.rule in rules],
            [one for one in self.prerequisites if one.rule in rules and one.needs in rules],
            self.scale,
        )

    def _bound(self, threshold, rule, direction, where, words: tuple[str, str], said: bool | None) -> float:
        """The threshold for oriented ratings; refused where all ratings, or none, lie on one side of it."""
        low, high = self.scale
        word = words[direction < 0]
        if said is not None and said != (direction < 0):
            better = "a higher rating is worse" if direction < 0 else "a higher rating is better"
            problem = f"{words[said]} contradicts the direction of {rule!r}: {better}"
            raise InputError(problem, where=where, fix=f"write {word}: NUMBER")
        bound = threshold if direction > 0 else low + high - threshold
        if not low < bound <= high:  # NaN is not, either
            ends = f"above {low:g}, at most {high:g}" if direction > 0 else f"at least {low:g}, below {high:g}"
            problem = f"{word}: {threshold:g} parts no ratings from {low:g} to {high:g}"
            raise InputError(problem, where=where, fix=f"use a number {ends}; for another scale write scale: [1, 5]")
        return bound


def _known(rule: str, known: Mapping[str, int], where: str) -> None:
    if rule not in known:
        near = difflib.get_close_matches(rule, known, n=3, cutoff=0.5)
        shown = ", ".join(list(known)[:10])
        fix = f"did you mean {', '.join(near)}?" if near else f"use one of {shown}"
        raise InputError(f"there is no rule {rule[:80]!r}", where=where, fix=fix)


def _cycle(edges: Mapping[tuple[str, str], float]) -> list[str]:
    """Rules of which each needs the next and the last is the first again; empty if there are none."""
    needs: dict[str, list[str]] = {}
    for rule, needed in edges:
        needs.setdefault(rule, []).append(needed)
    done: set[str] = set()
    for start in needs:
        path, stack = [], [(start, iter(needs[start]))]
        while stack:  # depth first, without recursion
            rule, rest = stack[-1]
            if rule not in path:
                path.append(rule)
            following = next((one for one in rest if one not in done), None)
            if following is None:
                done.add(rule)
                path.pop()
                stack.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                stack.append((following, iter(needs.get(following, ()))))
    return []
