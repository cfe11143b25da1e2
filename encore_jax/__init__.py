"""Multi-head safety reward models in JAX: rate, compose, select, train, evaluate, explain.

ENCORE on your own ratings, an array ``[N, 2, K]`` of N comparisons of two responses rated on K rules:

>>> import numpy as np, encore_jax as enc
>>> ratings = np.array([[[1.0, 0.2], [0.0, 0.9]], [[1.0, 0.7], [0.0, 0.4]]])
>>> weights = enc.entropy_weights(enc.rating_entropy(ratings, normalize="observed"))
>>> enc.compose(ratings, weights).shape
(2, 2)

The critical rule of each comparison, and the label by it (RuleAdapter, RAMO):

>>> rules = enc.critical_rules(ratings, r=1)
>>> rules.tolist(), enc.label_from_rules(ratings, rules).preferred.tolist()
([[0], [0]], [0, 0])
"""

import importlib

from encore_jax.lazy import on_first_use

__version__ = "0.1.0"

_HOME = {
    "encore_jax.composition": (
        "RatingsWarning",
        "compose",
        "composed_margins",
        "critical_rules",
        "effective_rules",
        "entropy_accuracy_correlation",
        "entropy_weights",
        "group_advantages",
        "label_from_rules",
        "lowest_entropy_weights",
        "margins",
        "rating_entropy",
        "rule_accuracy",
        "updated_multipliers",
    ),
    "encore_jax.data": ("Comparison", "Message", "RatedResponse", "read_comparisons", "stack_ratings"),
    "encore_jax.errors": ("InputError",),
    "encore_jax.evaluation.coverage": ("Coverage", "coverage"),
    "encore_jax.evaluation.held_out": ("Evaluation", "evaluate"),
    "encore_jax.composition.settings": ("CompositionSettings",),
    "encore_jax.evaluation.panel": ("PanelReliability", "panel_reliability"),
    "encore_jax.evaluation.premise_of_ratings": ("PremiseCheck", "premise"),
    "encore_jax.evaluation.reliability": ("Reliability", "reliability"),
    "encore_jax.reward.passport": ("Passport",),
    "encore_jax.reward.reward_model": ("RewardModel",),
    "encore_jax.reward.rule_rewards": ("RewardFunctions", "remote_reward_functions", "reward_functions"),
    "encore_jax.judge.rate": ("JudgedComparisons", "rate"),
    "encore_jax.judge.settings": ("RetryPolicy",),
    "encore_jax.recipes.fit": ("fit",),
    "encore_jax.rules": ("Rule", "RulePool"),
    "encore_jax.rules.graph": ("Prerequisite", "RuleGraph", "Veto"),
    "encore_jax.parallel.mesh": ("MeshSettings",),
    "encore_jax.train.settings": ("TrainSettings",),
}
_MODULES = {"judges": "encore_jax.judge.judges"}

_names, _from_home, _dir = on_first_use(__name__, _HOME)
__all__ = sorted([*_names, *_MODULES])


def __getattr__(name: str):
    """Imports a public name from its room when it is first used, so that importing the package stays light."""
    return importlib.import_module(_MODULES[name]) if name in _MODULES else _from_home(name)


def __dir__():
    return sorted({*_dir(), *__all__})
