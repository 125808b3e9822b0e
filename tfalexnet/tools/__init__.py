"""Convert, compare, compress and verify weights."""
