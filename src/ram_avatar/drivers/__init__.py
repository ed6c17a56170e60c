"""What moves an avatar: videos, captures, motion files, a camera, other programs."""
