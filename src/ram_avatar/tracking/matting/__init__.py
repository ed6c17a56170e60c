"""Mattes: whose each pixel is."""
