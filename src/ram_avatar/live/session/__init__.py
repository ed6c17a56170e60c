"""A session: a worker, a painter, and the sinks of their pictures."""
