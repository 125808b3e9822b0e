"""Pictures made from arrays."""
