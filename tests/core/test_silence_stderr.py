import os
import subprocess
import sys
import threading

from ram_avatar.core.silence_stderr import silence_stderr

# Detectors print while their threads open, which may be after the constructor has returned: wait for it.
DETECT = """
import time

from ram_avatar.tracking.detection.mediapipe import HolisticDetector
from ram_avatar.tracking.detection.people import find_people
from ram_avatar.video import read_frames

frames = list(read_frames({film!r}, stop=3))


def looks():
    time.sleep(1.5)
    yield from enumerate(frames)


find_people(looks())
detector = HolisticDetector()
time.sleep(0.5)
assert all(detector.detect(frame).found for frame in frames)
detector.close()
"""


def test_detectors_print_nothing(film):
    done = subprocess.run(
        [sys.executable, "-c", DETECT.format(film=str(film))], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout == ""


def test_native_output_is_discarded_and_pythons_is_not():
    code = (
        "import os, sys\n"
        "from ram_avatar.core.silence_stderr import silence_stderr\n"
        "with silence_stderr():\n"
        "    os.write(2, b'native')\n"
        "    print('python', file=sys.stderr)\n"
        "os.write(2, b'after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "python\nafter"


def test_blocks_may_overlap_in_threads(capfd):
    """The last block to end restores the descriptor, whichever thread began first."""
    inside, leave = threading.Event(), threading.Event()

    def other():
        with silence_stderr():
            inside.set()
            leave.wait()
            os.write(2, b"hidden")

    thread = threading.Thread(target=other)
    with silence_stderr():
        thread.start()
        inside.wait()
    os.write(2, b"hidden, too")
    leave.set()
    thread.join()
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
