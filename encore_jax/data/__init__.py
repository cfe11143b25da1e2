"""Data: where it comes from, what a record is, and how each published schema becomes records."""

from encore_jax.lazy import on_first_use

_HOME = {
    "encore_jax.data.comparison": (
        "Comparison",
        "Message",
        "RatedResponse",
        "parse_prompt",
        "prompt_key",
        "stack_ratings",
    ),
    "encore_jax.data.formats": ("FORMATS",),
    "encore_jax.data.jsonl": (
        "iter_comparisons",
        "iter_rated",
        "write_comparisons",
        "write_rated",
    ),
    "encore_jax.data.readers": ("read_comparisons",),
    "encore_jax.data.readers.attributes": (
        "read_attribute_columns",
        "read_ultrafeedback",
    ),
    "encore_jax.data.readers.openai_rbr": ("read_openai_rbr",),
    "encore_jax.data.readers.pyrit": (
        "PYRIT_HARM_RULES",
        "PYRIT_RULES",
        "read_pyrit",
    ),
    "encore_jax.data.readers.rewardbench": (
        "SAFETY_COUNTS",
        "check_safety_counts",
    ),
    "encore_jax.data.readers.severity": ("severity_comparisons",),
    "encore_jax.data.skips": ("SkipCounter",),
    "encore_jax.data.sources": (
        "PYRIT_WHEEL",
        "SMOLLM2_GGUF",
        "SMOLLM2_WHEEL",
        "locate",
    ),
    "encore_jax.data.wheels": (
        "cache_folder",
        "member",
        "wheel",
    ),
}
__all__, __getattr__, __dir__ = on_first_use(__name__, _HOME)
