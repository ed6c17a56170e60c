"""Motion distribution alignment: poses moved towards those that an avatar's video showed."""
