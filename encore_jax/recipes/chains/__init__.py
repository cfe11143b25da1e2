"""The kinds of runs, each a chain of stages."""
