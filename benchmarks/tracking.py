"""Seconds a frame of tracking, stage by stage: `python benchmarks/tracking.py [VIDEO]`.

Without a video the demo's performer is filmed first.
"""

import sys
import tempfile
import time
from pathlib import Path

from machine import describe, table

from ram_avatar.body import load_template
from ram_avatar.core.progress import Silent
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.tracking.offline.track import track


class Stopwatch(Silent):
    """Seconds between the first and the last step of each stage, setting up included."""

    def __init__(self):
        self.stages: dict[str, float] = {}
        self.last = time.perf_counter()

    def step(self, label: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.stages[label] = self.stages.get(label, 0.0) + now - self.last
        self.last = now


def main() -> None:
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch:
        video = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "performance.mp4"
        if not video.exists():
            write_performance(video, Performer(template), "training", frames=100)
        watch = Stopwatch()
        started = time.perf_counter()
        capture = track(video, Path(scratch) / "capture", template=template, progress=watch)
        total = time.perf_counter() - started
    frames = len(capture)
    print(f"Tracking {video.name}, {frames} frames\n{describe()}\n")
    rows = [(f"{label.lower()}", f"{s / frames:.3f} s a frame", "") for label, s in watch.stages.items()]
    print(table([*rows, ("all of it", f"{total / frames:.3f} s a frame", "0.5 s")]))


if __name__ == "__main__":
    main()
