"""The papers' formulas: pure functions on arrays, free of every other room."""

from encore_jax.composition.accuracy import Accuracy, margin_accuracy, rule_accuracy
from encore_jax.composition.checks import RatingsWarning
from encore_jax.composition.correlation import (
    Correlation,
    entropy_accuracy_correlation,
    fisher_interval,
    pearson,
)
from encore_jax.composition.entropy import (
    bin_edges,
    entropy_of_counts,
    level_edges,
    rating_counts,
    rating_entropy,
)
from encore_jax.composition.information import channel_information, preference_information, selection_accuracy
from encore_jax.composition.kde import kde_entropy
from encore_jax.composition.reward import compose, composed_margins, margin_tolerances, margins
from encore_jax.composition.rule_labels import RuleLabels, label_from_rules
from encore_jax.composition.selection import (
    critical_rules,
    discrepancy,
    mean_relevance,
    random_rules,
    selected,
    top_rules,
)
from encore_jax.composition.ties import Margin, first_place, is_tie
from encore_jax.composition.weights import effective_rules, entropy_weights, lowest_entropy_weights

__all__ = [
    "Accuracy",
    "Correlation",
    "Margin",
    "RatingsWarning",
    "RuleLabels",
    "bin_edges",
    "channel_information",
    "compose",
    "composed_margins",
    "critical_rules",
    "discrepancy",
    "effective_rules",
    "entropy_accuracy_correlation",
    "entropy_of_counts",
    "entropy_weights",
    "first_place",
    "fisher_interval",
    "is_tie",
    "kde_entropy",
    "label_from_rules",
    "level_edges",
    "lowest_entropy_weights",
    "margin_accuracy",
    "margin_tolerances",
    "margins",
    "mean_relevance",
    "pearson",
    "preference_information",
    "random_rules",
    "rating_counts",
    "rating_entropy",
    "rule_accuracy",
    "selected",
    "selection_accuracy",
    "top_rules",
]
