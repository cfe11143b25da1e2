"""Data: where it comes from, what a record is, and how each published schema becomes records."""

from encore_jax.data.comparison import (
    Comparison,
    Message,
    RatedResponse,
    parse_prompt,
    prompt_key,
    stack_ratings,
)
from encore_jax.data.jsonl import iter_comparisons, iter_rated, write_comparisons, write_rated
from encore_jax.data.readers import FORMATS, read_comparisons
from encore_jax.data.readers.attributes import read_attribute_columns, read_ultrafeedback
from encore_jax.data.readers.openai_rbr import read_openai_rbr
from encore_jax.data.readers.pyrit import (
    PYRIT_HARM_RULES,
    PYRIT_RULES,
    read_pyrit,
)
from encore_jax.data.readers.rewardbench import SAFETY_COUNTS, check_safety_counts
from encore_jax.data.readers.severity import severity_comparisons
from encore_jax.data.skips import SkipCounter
from encore_jax.data.sources import PYRIT_WHEEL, SMOLLM2_GGUF, SMOLLM2_WHEEL, locate
from encore_jax.data.wheels import cache_folder, member, wheel

__all__ = [
    "FORMATS",
    "PYRIT_HARM_RULES",
    "PYRIT_RULES",
    "PYRIT_WHEEL",
    "SAFETY_COUNTS",
    "SMOLLM2_GGUF",
    "SMOLLM2_WHEEL",
    "Comparison",
    "Message",
    "RatedResponse",
    "SkipCounter",
    "cache_folder",
    "check_safety_counts",
    "iter_comparisons",
    "iter_rated",
    "locate",
    "member",
    "parse_prompt",
    "prompt_key",
    "read_attribute_columns",
    "read_comparisons",
    "read_openai_rbr",
    "read_pyrit",
    "read_ultrafeedback",
    "severity_comparisons",
    "stack_ratings",
    "wheel",
    "write_comparisons",
    "write_rated",
]
