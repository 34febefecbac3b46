"""What does a network start from, and what of it is trained? ImageNet networks as named stages, and the transfer plan."""
