"""Losses, optimizers, the pure step, the loop and the phases of a run."""
