"""What a file may ask for, so that a small one takes little memory and time.

Text and compressed arrays can describe far more frames and joints than they hold numbers for. What is allowed grows
with the file, so that long recordings are read: an hour of AMASS at 120 frames per second has 430,000 frames of 52
joints, in a file of 540 MB.
"""

from ..core.errors import UserError

MAX_JOINTS = 1000
MIN_FPS, MAX_FPS = 0.01, 10_000.0
LARGEST = 1e6  # limit of a motion's numbers, which are radians, metres and fractions
LONGEST_NAME = 200  # characters
_SMALL = 4_000_000  # joints in all frames that any file may have: 9 minutes at 120 frames per second. 176 bytes each
_BYTES_PER_JOINT = 2  # at least, of a file that has more. A frame's joint takes 4 in the tersest text, and mostly 20
_FEWEST_JOINTS = 60  # counted in a frame: as many as a body template has
_UPSAMPLED = 4  # times as many joints as a clip has, in its resampled frames


def check_frames(frames: int, joints: int, size: int) -> None:
    """Check that a file is large enough for its frames.

    Args:
        frames, joints: that it describes.
        size: of the file, in bytes.

    Raises:
        ValueError: it is too small.
    """
    if joints > MAX_JOINTS:
        raise ValueError(f"has {joints} joints; at most {MAX_JOINTS} are read")
    if frames > most_frames(joints, size // _BYTES_PER_JOINT):
        raise ValueError(f"has {frames} frames of {joints} joints, too many for a file of {size >> 10} kB")


def most_frames(joints: int, proportional: int = 0) -> int:
    """Return how many frames of some joints are allowed.

    Args:
        proportional: joints in all frames that are allowed if they are more than any small file may have.
    """
    return max(_SMALL, proportional) // max(joints, _FEWEST_JOINTS)


def check_resampling(frames: int, joints: int, fps: float, wanted: float) -> None:
    """Check that resampling from `fps` to `wanted` frames per second does not give too many frames.

    Raises:
        UserError: it does.
    """
    seconds = frames / fps
    if seconds * wanted > most_frames(joints, _UPSAMPLED * frames * max(joints, _FEWEST_JOINTS)):
        raise UserError(f"{seconds:.0f} seconds at {wanted:g} frames a second are too many frames")


def check_name(name: str) -> str:
    """Return the name of a joint. Raises ValueError: empty, too long, or not printable."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a joint's name must have 1 to {LONGEST_NAME} printable characters")
    return name
