"""Serving a reward model over HTTP: ``encore serve --model=DIR``."""
