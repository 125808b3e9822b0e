"""Pictures through a network: labels and features."""
