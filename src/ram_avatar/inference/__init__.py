"""Fast inference, and export for other programs."""
