"""How is one network trained, kept and used? A run: what decides it, its folder, its training, and its use."""
