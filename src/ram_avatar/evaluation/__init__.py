"""Metrics of an avatar, and the report on them."""
