"""Motion files: a module per format, listed in `registry`. Importing this package does not load torch."""

from .options import ReadOptions
from .registry import (
    FORMATS,
    SUFFIXES,
    WRITTEN_SUFFIXES,
    describe,
    describe_written,
    is_motion_file,
)

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "WRITTEN_SUFFIXES",
    "ReadOptions",
    "describe",
    "describe_written",
    "is_motion_file",
]
