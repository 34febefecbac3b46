"""How fast is it? Each speed is a ratio against the obvious way, and both are measured in one run."""
