"""A list of runs, executed: in this process, in several, or on Ray; and the grid search."""
