"""Retargeting: a motion from one body to another, frame by frame."""
