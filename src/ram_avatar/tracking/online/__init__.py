"""Tracking frame by frame, live."""
