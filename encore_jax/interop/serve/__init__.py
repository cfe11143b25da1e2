"""Serving a reward model over HTTP: ``python -m encore_jax.interop.serve --model=DIR``."""
