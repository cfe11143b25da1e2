"""Code that only one experiment needs."""
