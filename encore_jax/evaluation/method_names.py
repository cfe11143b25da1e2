"""What methods of weighting are called in every table: names that other code looks for."""

SINGLE = "single: "
"""How the names of methods begin that use one rule alone."""
REFERENCE = "uniform"
"""The method that `minus_uniform` is measured from."""
