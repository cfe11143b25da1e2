"""ENCORE's theory, checked: closed forms beside simulations, with a verdict per claim.

Command:   encore theory [--view=runs/quickstart/score/view-heads.npz]
             (or: encore run theory)
Hardware:  2 CPU cores, 4 GiB of memory
Time:      under 3 minutes
Data:      none; with --view also trained Bradley-Terry weights beside entropies of that view
Expected:  every claim about simulated judges is confirmed; on real ratings the report says what it finds
"""

from encore_jax.recipes.theory_config import TheoryConfig


def get_config() -> TheoryConfig:
    """The defaults."""
    return TheoryConfig()
