"""Speed, as a ratio against the obvious way, both measured in one run."""
