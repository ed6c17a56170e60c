"""Motion files, one format per module."""
