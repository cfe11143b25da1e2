"""What one set of judged responses says of entropy and agreement: correlations over rules, and accuracies of methods.

Letters: T responses, U units, K rules, N pairs, R draws, M methods.
"""

from __future__ import annotations

import numpy as np

from encore_jax.composition import entropy_weights
from encore_jax.composition.agreement import agreement_weights
from encore_jax.composition.camps import commonality, resampled_loadings
from encore_jax.composition.moments import MOST_GROUPS, Rows, moments_of, prompt_groups, rating_rows, spreads
from encore_jax.data.judged import JudgedResponses
from encore_jax.errors import InputError
from experiments.studies.decisions import (
    complete_pairs,
    critical_hits,
    random_rule_hits,
    rule_hits,
    weighting_hits,
)
from experiments.studies.resampled import (
    POLICIES,
    Accuracies,
    Hits,
    accuracies,
    correlation,
    draw_units,
    entropies,
    group_times,
    interval,
)

UNIFORM, ENCORE, AGREEMENT, LOADING, PRODUCT = "uniform", "ENCORE", "agreement", "loading", "agreement × entropy"
RANDOM, CRITICAL, BY_LOADING = "one random rule", "critical rules", "critical rules × loading"
NUMBERS = (1, 3, 5)
"""How many critical rules decide a pair."""


def study(data: JudgedResponses, *, tau: float = 2.0, draws: int = 500, seed: int = 0) -> dict:
    """All numbers of one data set.

    Args:
      data: at most `MOST_GROUPS` units; else several are resampled together.
      tau: temperature of the entropy weights.
      draws: bootstrap draws over units. Weights are those of the whole data in every draw.
      seed: of everything random.

    Raises:
      InputError: a rule without ratings, or rules that have nothing in common.
    """
    for rule, rated in zip(data.rules, data.mask.any(0), strict=True):
        if not rated:
            raise InputError("has no rating at all", where=f"judge {rule!r}", fix="leave it out")
    units = int(data.unit.max()) + 1
    group = prompt_groups(np.arange(units), seed)
    times = draw_units(min(units, MOST_GROUPS), draws, seed)[:, group]
    rows = study_rows(data)
    moments = moments_of(rows, group[rows.prompt])
    common = commonality(moments, draws=draws, seed=seed)
    total = moments.total()
    samples, _ = resampled_loadings(moments, np.nan_to_num(common.loading), group_times(times, group))
    loading = np.where(np.isnan(common.loading), np.nan, np.vstack([common.loading[None], samples[1:]]))
    entropy = entropies(data, times)
    hits = rule_hits(data)
    of_rules = accuracies(hits, times, data)
    names, of_methods = _methods(data, hits, entropy[0], common.loading, spreads(total), tau, times, seed)
    return {
        "name": data.name,
        "judges": data.judges,
        "notes": list(data.notes),
        "rules": _rules(data, loading, entropy, of_rules),
        "pairs": len(data.pairs),
        "complete_pairs": int(complete_pairs(data).sum()),
        "units": units,
        "levels": data.levels,
        "verdict": common.verdict,
        "factors": common.factors,
        "camps": [[data.rules[k] for k in camp] for camp in common.camps],
        "effective_rules": common.effective_rules,
        "correlations": correlations_of(entropy, loading, of_rules),
        "methods": _rows_of(names, of_methods),
    }


def study_rows(data: JudgedResponses) -> Rows:
    """What loadings are estimated from: differences where units are prompts, else the responses themselves."""
    if data.within_units:
        return rating_rows(data.ratings[data.pairs], data.mask[data.pairs], data.unit[data.pairs[:, 0]])
    return rating_rows(data.ratings, data.mask, data.unit)


def correlations_of(entropy: np.ndarray, loading: np.ndarray, of_rules: Accuracies) -> dict[str, dict]:
    """r over the rules, with intervals: of entropy and of loading with accuracy, and of entropy with the tie rate."""
    return {
        "entropy": {name: interval(correlation(entropy, getattr(of_rules, name))) for name in POLICIES},
        "loading": {name: interval(correlation(loading, getattr(of_rules, name))) for name in POLICIES},
        "tie rate": {"entropy": interval(correlation(entropy, of_rules.tie_rate))},
    }


def _methods(data, hits, entropy, loading, spread, tau, times, seed) -> tuple[list[str], Accuracies]:
    """Names and accuracies of all methods; those of agreement as if nothing spoke against its weights."""
    by_entropy = np.asarray(entropy_weights(entropy, tau), np.float64)
    bartlett = np.asarray(agreement_weights(loading, spread), np.float64)
    plain = np.asarray(agreement_weights(loading, spread, method="loading"), np.float64)
    weights = {
        UNIFORM: np.full(len(entropy), 1 / len(entropy)),
        ENCORE: by_entropy,
        AGREEMENT: bartlett,
        LOADING: plain,
        PRODUCT: bartlett * by_entropy / (bartlett * by_entropy).sum(),
    }
    numbers = [r for r in NUMBERS if r < len(entropy)]
    critical, of_critical = critical_hits(data, {CRITICAL: np.ones(len(entropy)), BY_LOADING: plain}, numbers, seed)
    parts = [weighting_hits(data, list(weights.values())), random_rule_hits(hits, data), of_critical]
    together = Hits(*(np.concatenate(part, 1) for part in zip(*parts, strict=True)))
    return [*weights, RANDOM, *critical], accuracies(together, times, data)


def _rules(data: JudgedResponses, loading, entropy, of_rules: Accuracies) -> list[dict]:
    return [
        {
            "name": name,
            "entropy": interval(entropy[:, k])._asdict(),
            "loading": interval(loading[:, k])._asdict(),
            "tie_rate": float(of_rules.tie_rate[0, k]),
            **{policy: interval(getattr(of_rules, policy)[:, k])._asdict() for policy in POLICIES},
        }
        for k, name in enumerate(data.rules)
    ]


def _rows_of(names: list[str], found: Accuracies) -> list[dict]:
    reference = names.index(UNIFORM)
    return [
        {
            "name": name,
            "tie_rate": float(found.tie_rate[0, m]),
            "minus_uniform": interval(found.half[:, m] - found.half[:, reference])._asdict(),
            **{policy: interval(getattr(found, policy)[:, m])._asdict() for policy in POLICIES},
        }
        for m, name in enumerate(names)
    ]
