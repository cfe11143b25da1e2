"""The first line of every report: which weighting to use on these data, how sure that is, and what would settle it."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.evaluation.rated_pairs import UNLABELLED
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import reliability
from encore_jax.evaluation.rule_agreement import DRAWS, few_rules, few_use, refusal

MOST_LABELS = 20
"""Comparisons that are named as those whose labels would tell most."""


def advice(
    scores: Sequence[np.ndarray],
    preferred: Sequence[int | None],
    prompts: Sequence[Hashable],
    rules: Sequence[str],
    masks: Sequence[np.ndarray] | None = None,
    *,
    entropy: np.ndarray | None = None,
    tau: float = 2.0,
    seed: int = 0,
    of: str = "",
) -> dict:
    """What K rules' scores of comparisons say about which of the rules to trust, as plain values.

    Args:
      scores: ``[n, K]`` of the n responses of every comparison, ratings or scores, higher is better.
      preferred: index of the response that people prefer; None where nobody chose.
      prompts: equal for comparisons of one prompt.
      rules: K names.
      masks: ``[n, K]``, which scores exist; all if left out.
      entropy: ``[K]``, of the ratings; of the scores if left out.
      tau: temperature of the entropy weights.
      seed: of the bootstrap.
      of: which comparisons these are, where others are held out.

    Returns:
      `recommendation` in sentences; `use`, the weighting that it names, or "" for none; `verdict` on
      what the rules have in common; `effective_rules`; `labelled_prompts`, prompts with two responses of which one is
      preferred; `refused`, why there are no agreement weights, or ""; `loading` per rule with `low` and `high`;
      `label_next`, numbers of comparisons whose labels would tell most, as far as any can tell. Unknown numbers are
      None.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=(200, 2, 1)) + rng.normal(size=(200, 2, 3))
    >>> told = advice(list(scores), [None] * 200, range(200), ("safe", "honest", "kind"))
    >>> told["recommendation"][:22], told["verdict"], len(told["label_next"])
    ('Use agreement weights.', 'one common factor', 6)
    """
    masks = [np.ones(np.shape(group), bool) for group in scores] if masks is None else masks
    count = len(rules)
    unknown = {"value": None, "low": None, "high": None}
    pairs = [prompt for group, best, prompt in zip(scores, preferred, prompts, strict=True)
             if len(group) == 2 and best is not None]  # fmt: skip
    labelled = len(set(pairs))
    nothing = {"verdict": "", "effective_rules": None, "loading": [unknown] * count, "label_next": []}
    nothing["labelled_prompts"] = labelled
    if count < FEWEST_RULES:
        why, use = few_rules(count)
        return nothing | {"recommendation": use, "use": few_use(count), "refused": why}
    rows = [
        (number, a, b)
        for number, group in enumerate(scores)
        for a, b in itertools.combinations(range(len(group)), 2)
        if (masks[number][a] & masks[number][b]).any()
    ]
    if not rows:
        why = "no two responses of one prompt are rated on the same rule"
        use = "Nothing says which rules to trust: rate both responses of comparisons on the same rules."
        return nothing | {"recommendation": use, "use": "", "refused": why}
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    prompt = np.array([numbers[prompts[number]] for number, *_ in rows])
    found = reliability(
        np.stack([np.stack([scores[number][a], scores[number][b]]) for number, a, b in rows]),
        np.array([_choice(preferred[number], a, b) for number, a, b in rows]),
        where=np.stack([np.stack([masks[number][a], masks[number][b]]) for number, a, b in rows]),
        prompt=prompt,
        rules=rules,
        entropy=entropy,
        tau=tau,
        labels=MOST_LABELS,
        draws=DRAWS,
        seed=seed,
    )
    common = found.common
    each = zip(common.loading, common.low, common.high, strict=True)
    return {
        "recommendation": recommendation(found, of),
        "use": "" if found.worse_than_chance else found.recommended,
        "verdict": common.verdict,
        "effective_rules": _known(common.effective_rules),
        "labelled_prompts": labelled,
        "refused": "" if "agreement" in found.weights else refusal(found),
        "loading": [{"value": _known(v), "low": _known(low), "high": _known(high)} for v, low, high in each],
        "label_next": list(dict.fromkeys(rows[i][0] for i in found.label_next)),
    }


def _choice(preferred: int | None, a: int, b: int) -> int:
    """0 or 1 if one of both responses is the preferred one."""
    return {a: 0, b: 1}.get(preferred, UNLABELLED)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
