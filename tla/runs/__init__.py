"""One trained network: what decides it, its folder, its training, and its use."""
