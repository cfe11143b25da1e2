"""Judges on this machine's devices, and on those of other processes: a language model, a reward model's heads."""
