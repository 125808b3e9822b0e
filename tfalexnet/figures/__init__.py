"""Figures drawn from arrays and from the history of a training."""
