"""From a video to a capture."""
