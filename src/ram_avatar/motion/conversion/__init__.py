"""A skeleton's clip to a motion of the template, and back."""
