"""ENCORE on human ratings of ten rules, with a real 135M Llama-architecture model, on a laptop.

Command:   encore run quickstart   (or: make quickstart)
Hardware:  2 CPU cores, 6 GiB of memory
Time:      6 minutes after downloading 104 MB (two wheels, pinned by hash); 12 where the processor has no bfloat16
Data:      human severity, refusal and objective ratings shipped with PyRIT; comparisons are two responses to one
           prompt that people rated as differently severe, split by prompt
Expected:  the README shows the table. On these ratings the premise of ENCORE does not hold, and the report says so; the
           semi-synthetic part beside it shows what it would take.
"""

from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.config import ExperimentConfig, ModelConfig
from encore_jax.train.settings import GateSettings


def get_config() -> ExperimentConfig:
    """The defaults, with the backbone in bfloat16: twice as fast where the processor has it; heads stay float32.

    This run compares methods, so ArmoRM's gate is among them.
    """
    baselines = BaselineConfig(gate=GateSettings())
    return ExperimentConfig(name="quickstart", model=ModelConfig(dtype="bfloat16"), baselines=baselines)
