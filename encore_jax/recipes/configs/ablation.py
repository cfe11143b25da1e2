"""Which choices of ENCORE matter? All combinations of those that the paper leaves open, on one view's cached scores.

Command:   encore ablate --scores=runs/quickstart/score/view-heads.npz
             (or: encore run ablation --config.scores=FILE)
Hardware:  2 CPU cores, 4 GiB of memory
Time:      seconds for ten rules (163,680 settings); more with --config.replicates
Data:      a view that a run has scored
Expected:  WORKDIR/report.html says which choices explain the variance of accuracy, and by how much
"""

from encore_jax.recipes.ablation_config import AblateConfig


def get_config() -> AblateConfig:
    """Temperatures, grids, estimators, normalisations and all subsets of the rules."""
    return AblateConfig()
