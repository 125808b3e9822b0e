"""Engines: one module turns a network into a function."""
