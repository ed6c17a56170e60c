"""A driver's motion on an avatar, as a video file."""
