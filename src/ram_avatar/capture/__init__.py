"""A tracked video on disk, and the dataset made of it."""
