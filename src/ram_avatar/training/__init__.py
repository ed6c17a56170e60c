"""Training an avatar's network on a capture."""
