"""How good an avatar is."""
