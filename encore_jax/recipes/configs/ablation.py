"""Which choices of ENCORE matter? All combinations of those that the paper leaves open, on one view's cached scores.

Command:   encore ablate runs/quickstart
             (or: encore run ablation --config.scores=FILE)
Hardware:  2 CPU cores, 4 GiB of memory
Time:      seconds for ten rules (163,680 settings); more with --config.replicates
Data:      a view that a run has scored
Expected:  the best tau and grid of all rules, what they cannot be told from, and whether the choice matters
"""

from encore_jax.recipes.ablation_config import AblateConfig


def get_config() -> AblateConfig:
    """Temperatures, grids, estimators, normalisations and all subsets of the rules."""
    return AblateConfig()
