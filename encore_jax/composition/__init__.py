"""The papers' formulas: pure functions on arrays, free of every other room."""

from encore_jax.lazy import on_first_use

_HOME = {
    "encore_jax.composition.accuracy": (
        "Accuracy",
        "margin_accuracy",
        "rule_accuracy",
    ),
    "encore_jax.composition.checks": ("RatingsWarning",),
    "encore_jax.composition.correlation": (
        "Correlation",
        "entropy_accuracy_correlation",
        "fisher_interval",
        "pearson",
    ),
    "encore_jax.composition.entropy": (
        "bin_edges",
        "entropy_of_counts",
        "level_edges",
        "rating_counts",
        "rating_entropy",
    ),
    "encore_jax.composition.advantages": (
        "CONVENTIONS",
        "Convention",
        "group_advantages",
        "shortfalls",
        "updated_multipliers",
    ),
    "encore_jax.composition.information": (
        "channel_information",
        "preference_information",
        "selection_accuracy",
    ),
    "encore_jax.composition.kde": ("kde_entropy",),
    "encore_jax.composition.reward": (
        "compose",
        "composed_margins",
        "margin_tolerances",
        "margins",
    ),
    "encore_jax.composition.rule_labels": (
        "RuleLabels",
        "label_from_rules",
    ),
    "encore_jax.composition.selection": (
        "critical_rules",
        "discrepancy",
        "mean_relevance",
        "random_rules",
        "selected",
        "top_rules",
    ),
    "encore_jax.composition.ties": (
        "Margin",
        "first_place",
        "is_tie",
    ),
    "encore_jax.composition.weights": (
        "effective_rules",
        "entropy_weights",
        "lowest_entropy_weights",
    ),
}
__all__, __getattr__, __dir__ = on_first_use(__name__, _HOME)
