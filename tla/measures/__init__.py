"""Numbers from runs; pure functions on arrays at the core."""
