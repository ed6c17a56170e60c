"""Tracking: from landmarks in a video or camera to the motion of a template."""
