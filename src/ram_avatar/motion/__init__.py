"""Motion: the parameters of a body over time; files, conversion, retargeting and alignment."""
