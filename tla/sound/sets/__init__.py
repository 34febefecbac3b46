"""The data sets that are known by name, a file each, and the two forms of your own: a CSV and a folder per class."""
