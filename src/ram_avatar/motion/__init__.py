"""Motion: the parameters of a body over time."""
