"""Tracking a whole clip at once."""
