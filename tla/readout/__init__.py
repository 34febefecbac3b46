"""What does each stage already know of these sounds? Readouts of pooled activations, without any training of the network."""
