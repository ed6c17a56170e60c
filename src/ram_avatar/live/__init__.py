"""The avatar live in a browser: camera in, avatar out."""
