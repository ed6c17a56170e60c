"""Mattes: how much of each pixel is the person."""
