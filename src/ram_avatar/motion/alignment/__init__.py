"""Motion distribution alignment: moves poses towards those that the avatar's video shows."""
