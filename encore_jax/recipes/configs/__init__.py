"""The shipped configurations: `--config=NAME` finds them from any folder."""
