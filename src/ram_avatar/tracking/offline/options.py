"""Options of `track`."""

from dataclasses import dataclass

from ...options import FaceModelOptions, RotateOptions, TemplateOptions


@dataclass(frozen=True)
class TrackOptions(RotateOptions, FaceModelOptions, TemplateOptions):
    """How to track a video.

    Raises:
        UserError: `rotate` is not a quarter turn.
    """
