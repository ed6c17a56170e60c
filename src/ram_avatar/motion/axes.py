"""The axes of a file that may point up."""

AXES = {
    "x": (1.0, 0.0, 0.0),
    "y": (0.0, 0.0, 1.0),
    "z": (0.0, -1.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "-y": (0.0, 0.0, -1.0),
    "-z": (0.0, 1.0, 0.0),
}
"""Each axis as a direction in world axes (x left, y back, z up), for a file that was read as if y were up."""
