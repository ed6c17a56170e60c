"""The curves of a training run, for TensorBoard."""

import os
import time
from pathlib import Path
from types import TracebackType

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard.summary import image, scalar


class CurveWriter:
    """Writes numbers and images over the steps of a run. A context manager.

    Unlike torch's writer, it does not name the files after this machine: avatars are passed on, with their folders.

    Args:
        folder: made if missing.
        first_step: what earlier runs wrote at this step and later ones does not count.

    Raises:
        OSError: the folder or its file cannot be written (also from the other methods).
    """

    def __init__(self, folder: Path, first_step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def __enter__(self) -> "CurveWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.close()

    def add_numbers(self, numbers: dict[str, float], step: int) -> None:
        """Add a point to each of some curves."""
        for name, number in numbers.items():
            self._add(scalar(name, number), step)
        self._file.flush()

    def add_image(self, name: str, picture: Tensor, step: int) -> None:
        """Add an image [3, H, W] uint8."""
        self._add(image(name, picture, dataformats="CHW"), step)
        self._file.flush()

    def _add(self, summary: Summary, step: int) -> None:
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
