"""The live server under hours of use and misuse: `python benchmarks/soak.py AVATAR --source FILM --minutes 120`.

A page drives `ram-avatar live`, reconnects every minute, and sends garbage as one message in twenty; a silent
connection without a request comes with every sample. Memory, descriptors, threads and latency must stay flat: if one of
them grows, the script says so and exits with code 1. For Linux.
"""

import csv
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import tyro
from measures.results import describe_setup, markdown_table
from scipy.stats import theilslopes
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ram_avatar.live.protocol import Answer, CameraFrame, Coding

_START = "from ram_avatar.cli.main import main; main()"
_FPS = 25.0
_RECONNECT = 60.0  # seconds
_INTERVAL = 10.0  # seconds between samples
_GARBAGE = 0.05  # of all messages
_WARM_UP = 0.25  # of the run, which may differ from the rest
_TIMEOUT = 60.0  # seconds without an answer
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_LINES = 10  # that a server prints
_UNITS = {"memory": ("MB", 0), "descriptors": ("", 0), "threads": ("", 0), "latency": ("ms", 1)}
_GROWTH = {"memory": 0.05, "descriptors": 0.1, "threads": 0.1, "latency": 0.25}
"""By what share of its level each may grow over the run."""


@dataclass
class Arguments:
    avatar: tyro.conf.Positional[Path]
    source: str
    """What drives, see `ram-avatar live`: a video exercises most."""
    minutes: float = 120.0
    csv: Path = Path("soak.csv")
    """Where the samples go."""
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """What the server takes at one moment, and how it answered since the last."""

    seconds: float
    memory: float  # MB resident, in all of its processes
    descriptors: int
    threads: int
    latency: float  # ms from a frame to its answer, median
    latency95: float
    frames: int


class Server:
    """A running `ram-avatar live`."""

    def __init__(self, avatar: Path, source: str, log: Path):
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _START,
                    "live",
                    str(avatar),
                    "--source",
                    source,
                    "--port",
                    "0",
                    "--no-browser",
                    "--profile",
                    "None",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.address = self._wait_for_address()

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._log.read_text(errors="replace")

    def _wait_for_address(self) -> str:
        end = time.monotonic() + 300
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"^Open http://(\S+)/", self.output, re.MULTILINE):
                return found[1]
            time.sleep(0.1)
        raise SystemExit(f"the server did not start:\n{self.output}")

    def stop(self) -> None:
        """Press Ctrl-C, and wait."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def usage(self) -> tuple[float, int, int]:
        """Return resident memory in MB, descriptors and threads of its processes."""
        memory = descriptors = threads = 0
        for process in self._tree():
            with suppress(OSError):  # one of them ended just now
                memory += int((process / "statm").read_text().split()[1]) * _PAGE
                descriptors += len(list((process / "fd").iterdir()))
                threads += len(list((process / "task").iterdir()))
        return memory / 2**20, descriptors, threads

    def _tree(self) -> list[Path]:
        parents = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        tree = [self.process.pid]
        for process in tree:
            tree += [child for child, parent in parents.items() if parent == process]
        return [Path(f"/proc/{process}") for process in tree]


def garbage(rng: random.Random) -> bytes | str:
    """Return a message that no page sends."""
    noise = rng.randbytes(rng.choice([0, 1, 15, 16, 17, 200, 5000]))
    frame = CameraFrame(rng.getrandbits(32), rng.choice([0.0, -1e300, 1e300]), rng.choice(list(Coding)), noise)
    number = "1" + "0" * 400
    return rng.choice(
        [
            noise,
            frame.pack(),
            CameraFrame(1, 1.0, Coding.JPEG, b"\xff\xd8" + noise).pack(),
            CameraFrame(1, 1.0, rng.choice([Coding.H264_KEY, Coding.H264_DELTA]), b"\0\0\0\1" + noise).pack(),
            noise.decode("latin-1"),
            "[" * 5000,
            json.dumps({"type": rng.choice(["settings", "driver", "avatar", "absent"]), "kind": [1], "name": {}}),
            f'{{"type": "settings", "changes": {{"smoothing": {number}, "face": {{"jawOpen": NaN}}}}}}',
        ]
    )


class Soak:
    """Drives a server as a page would, and samples it meanwhile.

    Attributes:
        samples: one for every `_INTERVAL`.
        events: how many of each type the server sent, and how many connections there were.
    """

    def __init__(self, server: Server, rng: random.Random):
        self.samples: list[Sample] = []
        self.events: Counter[str] = Counter()
        self._server, self._rng = server, rng
        self._latencies: list[float] = []
        self._sent: dict[int, float] = {}
        self._strangers: deque[socket.socket] = deque(maxlen=20)
        self._started = self._sampled = time.monotonic()

    def run(self, seconds: float) -> None:
        """Drive for some seconds, or until the server ends."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and self._server.process.poll() is None:
            with suppress(ConnectionClosed):  # after some kinds of garbage
                self._drive(min(end, now + _RECONNECT))
        for stranger in self._strangers:
            stranger.close()

    def _drive(self, end: float) -> None:
        host, number = self._server.address, 0
        self.events["connections"] += 1
        self._sent.clear()
        address = f"ws://{host}/socket?page=soak"
        with connect(address, origin=f"http://{host}", max_size=None, compression=None) as page:
            while (now := time.monotonic()) < end:
                number += 1
                self._sent[number] = now
                page.send(CameraFrame(number, 1e3 * now).pack())
                if self._rng.random() < _GARBAGE / (1 - _GARBAGE):
                    page.send(garbage(self._rng))
                    self.events["garbage"] += 1
                while number in self._sent:
                    self._receive(page)
                if time.monotonic() - self._sampled >= _INTERVAL:
                    self._sample()
                time.sleep(max(0.0, now + 1 / _FPS - time.monotonic()))

    def _receive(self, page: ClientConnection) -> None:
        message = page.recv(timeout=_TIMEOUT)
        if isinstance(message, str):
            event = json.loads(message)
            self.events[event["type"]] += 1
            if event["type"] == "failed":
                raise SystemExit(f"the session failed: {event['text']}")
            return
        answer = Answer.unpack(message)
        sent = self._sent.pop(answer.number, None)
        if sent is not None and not answer.dropped:
            self._latencies.append(1e3 * (time.monotonic() - sent))

    def _sample(self) -> None:
        host, port = self._server.address.split(":")
        self._strangers.append(socket.create_connection((host, int(port))))  # the server closes it
        self._sampled = time.monotonic()
        latencies, self._latencies = self._latencies or [float("nan")], []
        sample = Sample(
            self._sampled - self._started,
            *self._server.usage(),
            *np.percentile(latencies, [50, 95]).tolist(),
            len(latencies),
        )
        self.samples.append(sample)


def growth(samples: list[Sample], measure: str) -> tuple[float, float, float]:
    """Return the level of a measure after the warm-up, by how much of it it grew until the end, and at least grew.

    The trend is the median of the slopes between samples; the last number is the end of its 95 % interval.
    """
    kept = [sample for sample in samples if sample.seconds >= _WARM_UP * samples[-1].seconds]
    times = np.array([sample.seconds for sample in kept])
    values = np.array([getattr(sample, measure) for sample in kept])
    usable = np.isfinite(values)
    trend = theilslopes(values[usable], times[usable])
    level = float(np.median(values[usable]))
    span = (times[-1] - times[0]) / level
    return level, trend.slope * span, trend.low_slope * span


def main(arguments: Arguments) -> None:
    """Soak, print a table, and write the samples."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.avatar, arguments.source, Path(folder) / "log")
        soak = Soak(server, random.Random(arguments.seed))
        try:
            soak.run(60 * arguments.minutes)
            ended = server.process.poll()
        finally:
            server.stop()
        output = server.output.splitlines()
    with arguments.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(each.name for each in fields(Sample))
        writer.writerows(map(astuple, soak.samples))
    if len(soak.samples) < 8:
        raise SystemExit(f"too few samples for a trend: {len(soak.samples)}; the server printed: {output}")

    rows, faults = [], []
    for measure, unit in _UNITS.items():
        level, grown, at_least = growth(soak.samples, measure)
        rows.append(
            (measure, f"{level:.{unit[1]}f} {unit[0]}".strip(), f"{100 * grown:+.1f} %", f"{100 * at_least:+.1f} %")
        )
        if at_least > _GROWTH[measure]:
            faults.append(f"{measure} grew by {100 * at_least:.1f} % at least")
    if ended is not None or server.process.returncode != 0:
        faults.append(f"the server ended with code {server.process.returncode}")
    if any("Traceback" in line for line in output) or len(output) > _MOST_LINES:
        faults.append(f"the server printed {len(output)} lines: {output[:20]}")
    print(f"{describe_setup()}\n")
    print(markdown_table(rows, ("measure", "level", "growth over the run", "at least")))
    print(f"\n{soak.samples[-1].seconds / 60:.0f} minutes; {dict(soak.events)}")
    print("\n".join(faults) or "flat")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
