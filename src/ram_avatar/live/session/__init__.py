"""A live session: its worker, pipeline, sinks and statistics."""
