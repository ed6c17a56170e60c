"""What a detector sees in a picture."""
