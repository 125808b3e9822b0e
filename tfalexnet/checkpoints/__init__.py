"""Weights files: read, matched against a network, written."""
