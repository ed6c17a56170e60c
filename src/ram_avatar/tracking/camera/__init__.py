"""The camera: its path, exposure and orientation, and the borders of its picture."""
