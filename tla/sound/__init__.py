"""A clip becomes a picture."""
