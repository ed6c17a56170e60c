"""Tracking time per frame, by stage: `python benchmarks/tracking.py [VIDEO]`.

Without a video, the built-in performer is rendered first.
"""

import sys
import tempfile
import time
from pathlib import Path

from measures.results import describe_setup, markdown_table

from ram_avatar.body import load_template
from ram_avatar.core.progress import Silent
from ram_avatar.synthetic.performer import Performer, write_performance
from ram_avatar.tracking.offline.track import track


class Stopwatch(Silent):
    """Measures the seconds of each stage, including its setup."""

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
    print(f"Tracking {video.name}, {frames} frames\n{describe_setup()}\n")
    rows = [(f"{label.lower()}", f"{s / frames:.3f} s per frame", "") for label, s in watch.stages.items()]
    print(markdown_table([*rows, ("total", f"{total / frames:.3f} s per frame", "0.5 s")]))


if __name__ == "__main__":
    main()
