"""Rules: the safety criteria in words, their pools, and the pools shipped as YAML."""

from encore_jax.lazy import on_first_use

_HOME = {
    "encore_jax.rules.rule": (
        "Rule",
        "RulePool",
    ),
}
__all__, __getattr__, __dir__ = on_first_use(__name__, _HOME)
