"""Reading and writing video as upright RGB arrays at a constant frame rate (PyAV)."""

from .decoding import VideoInfo
from .reading import ROTATIONS, probe, rate_note, read_frames
from .writing import GENERATED, VideoWriter

__all__ = ["GENERATED", "ROTATIONS", "VideoInfo", "VideoWriter", "probe", "rate_note", "read_frames"]
