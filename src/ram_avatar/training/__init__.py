"""Training the network on a capture."""
