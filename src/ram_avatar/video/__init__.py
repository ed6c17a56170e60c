"""Video frames in and out, as upright RGB arrays at a constant frame rate (PyAV)."""

from ram_avatar.video.reading import ROTATIONS, VideoInfo, probe, rate_note, read_frames
from ram_avatar.video.writing import VideoWriter

__all__ = ["ROTATIONS", "VideoInfo", "VideoWriter", "probe", "rate_note", "read_frames"]
