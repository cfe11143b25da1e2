"""ENCORE on human ratings of ten rules, with a real 135M Llama-architecture model, on a laptop.

Command:   encore run quickstart   (or: make quickstart)
Hardware:  2 CPU cores, 6 GiB of memory
Time:      4 minutes after downloading 104 MB (two wheels, pinned by hash); 12 where the processor has no bfloat16
Data:      human severity, refusal and objective ratings shipped with PyRIT; comparisons are two responses to one
           prompt that people rated as differently severe, split by prompt
Expected:  the README shows the table. On these ratings the premise of ENCORE does not hold, and the report says so; the
           semi-synthetic part beside it shows what it would take.
"""

from encore_jax.recipes.config import ExperimentConfig, ModelConfig


def get_config() -> ExperimentConfig:
    """The defaults, with the backbone in bfloat16: twice as fast where the processor has it; heads stay float32.

    ArmoRM's gate, which takes half a minute, is among the methods with --config.baselines.gate.steps=2000; the
    published results have it.
    """
    return ExperimentConfig(name="quickstart", model=ModelConfig(dtype="bfloat16"))
