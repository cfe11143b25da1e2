"""A reward model in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encore_jax.terminal_text import one_line

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel

MOST = 12
"""Rules that are named."""


def described(model: RewardModel) -> str:
    """What ``print(model)`` says: rules with their weights, in the order of the scores' columns, and the backbone."""
    passport, rules = model.passport, model.rules
    k = len(rules)
    if model.gate is not None:
        how, parts = "composed by a gate, anew for every prompt", list(rules)
    elif len(passport.weights) == k:
        by = f", by {passport.weighting}" if passport.weighting else ""
        how, parts = (
            f"composed with weights{by}",
            [f"{rule} {weight:.3g}" for rule, weight in zip(rules, passport.weights, strict=True)],
        )
    else:
        how, parts = "nobody has said how they compose", list(rules)
    more = f" and {k - MOST} more" if k > MOST else ""
    backbone = f"{model.cfg.layers} layers of width {model.cfg.width}, {passport.dtype}"
    return "\n".join([
        f"RewardModel: {k} rule head{'s' if k != 1 else ''}, {how}",
        f"  rules: {one_line(', '.join(parts[:MOST]))}{more}",
        f"  backbone: {one_line(model.origin or passport.model)} ({backbone})",
        f"  texts of at most {passport.max_length:,} tokens; pooling {passport.pooling}",
    ])  # fmt: skip
