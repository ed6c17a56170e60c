"""Video frames in and out, as upright RGB arrays at a constant frame rate (PyAV)."""

from ram_avatar.video.reading import VideoInfo, probe, read_frames
from ram_avatar.video.writing import VideoWriter

__all__ = ["VideoInfo", "VideoWriter", "probe", "read_frames"]
