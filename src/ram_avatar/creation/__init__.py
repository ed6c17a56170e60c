"""From a video to an avatar."""
