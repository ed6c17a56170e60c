"""A tracked video on disk, and the training data made from it."""
