"""What a network answers, computed from its weights and outputs: arrays in, arrays out."""
