"""Finds calls of LAPACK: in source code, in compiled programs, and whenever a test compiles one.

Batched LAPACK calls that run side by side in one program wait for each other for ever on CPU. Whether a call is batched
depends on who vmaps it, so none at all is allowed in a program; NumPy and SciPy on the host may do as they like.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jax
from jax.interpreters import mlir

PRIMITIVES = tuple(getattr(jax.lax.linalg, name) for name in dir(jax.lax.linalg) if name.endswith("_p")
                   and name not in ("lu_pivots_to_permutation_p", "symmetric_product_p"))  # fmt: skip
"""What JAX's CPU backend hands to LAPACK or BLAS; the two left out are plain products and gathers."""

HARMLESS = {"norm", "vecdot", "vector_norm", "outer", "trace", "diagonal", "matmul", "tensordot", "matrix_transpose"}
"""Functions of `jnp.linalg` that are made of sums and products. `norm` of a matrix by order 2 is not: see the guard."""

SAMPLERS = {"multivariate_normal", "orthogonal", "wishart"}
"""Of `jax.random` and `jax.nn.initializers`, those that factor a matrix."""


def calls_in_source(source: str) -> list[str]:
    """Names of LAPACK functions of JAX that the source uses, each with its line.

    >>> calls_in_source("import jax.numpy as jnp\\nx = jnp.linalg.solve(a, b)")
    ['line 2: jnp.linalg.solve']
    """
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = ast.unparse(node).split(".")
            jax_linalg = parts[-2:-1] == ["linalg"] and parts[0] in ("jax", "jnp", "lax", "jsp")
            if (jax_linalg and parts[-1] not in HARMLESS) or (parts[0] == "jax" and parts[-1] in SAMPLERS):
                found.append(f"line {node.lineno}: {'.'.join(parts)}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jax"):
            parts, names = node.module.split("."), {alias.name for alias in node.names}
            if parts[-1] == "linalg" or "linalg" in names or names & SAMPLERS:
                found.append(f"line {node.lineno}: from {node.module} import {', '.join(sorted(names))}")
    return found


def calls_in_program(text: str) -> list[str]:
    """Names of the LAPACK and BLAS calls in a compiled program's text (`jax.stages.Compiled.as_text`)."""
    targets = re.findall(r'custom_call_target="([^"]+)"', text)
    return sorted({target for target in targets if re.match(r"(lapack|blas)_", target)})


def sources() -> list[Path]:
    """Every module that users run."""
    root = Path(__file__).parents[1]
    return [
        path for folder in ("encore_jax", "experiments", "examples") for path in sorted((root / folder).rglob("*.py"))
    ]


def forbid() -> None:
    """From here on, compiling a LAPACK call for CPU fails, whoever asks for it."""
    for primitive in PRIMITIVES:
        mlir.register_lowering(primitive, _refuse(primitive.name), platform="cpu")


def _refuse(name: str):
    def lowering(ctx, *operands, **options):
        raise AssertionError(f"{name} in a program for CPU: batches of LAPACK calls hang; see tests/no_lapack.py")

    return lowering
