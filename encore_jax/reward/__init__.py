"""Reward models: heads, weights and passport on a backbone; scored, saved, exported, handed to trainers."""
