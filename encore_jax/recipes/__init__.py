"""Runs: their configurations, their stages, and what carries them out."""
