"""A table becomes a figure, or a table that people read. No torch in here."""
