"""Which rules of real LLM judges can be trusted: entropy beside agreement, on three published data sets.

Command:   python -m experiments.run --config=experiments/configs/real_judges.py --config.data.path=DIR
Hardware:  2 CPU cores, 2 GiB of memory
Time:      under 1 minute
Data:      DIR holds HANNA, LLMBar and LLM-Rubric, or folders of them (docs/reliability.md says which files)
Expected:  entropy goes with accuracy in either direction, and through ties; loading goes with it wherever the pool has
           one common factor; agreement weights stand 24 junk rules, and are refused where rules share a nuisance
"""

from experiments.studies.real_judges_config import RealJudgesConfig


def get_config() -> RealJudgesConfig:
    """The defaults."""
    return RealJudgesConfig()
