"""The built-in performer: a person, clothes, a room and performances, rendered with their ground truth."""
