"""The avatar in a browser: a camera in, the avatar out, while it happens."""
