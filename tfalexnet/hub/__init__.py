"""Weights by name: where they come from and where they are kept."""
