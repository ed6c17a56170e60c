"""Poses of many motion files, stored on disk as features: the training set of a motion prior."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ...body import load_template
from ...core.errors import UserError
from ...core.progress import Progress, follow
from ...core.untrusted.arrays import open_archive, read_entry
from ..formats.reading import read_motion
from ..formats.registry import BODY_SUFFIXES, SUFFIXES
from ..pose_features import PoseFeatures

_IN_ARCHIVES = ".bvh"
_ARCHIVE = "a .zip archive"
_MAX_ARCHIVE = 1 << 34  # bytes
_MAX_ENTRY = 1 << 28  # bytes of a motion in an archive, unpacked
_SMALL_ENTRY, _RATIO = 8 << 20, 50  # larger ones may have so many bytes for each packed one; text has up to 20
_NAMED = 3  # unreadable files that are named
_WORTH_A_PROCESS = 8  # motions that are read in the time in which another process starts


@dataclass(frozen=True)
class Source:
    """A motion file, or an entry of a .zip."""

    path: Path
    entry: str | None = None

    def __str__(self) -> str:
        return f"{self.path}/{self.entry}" if self.entry else str(self.path)


def find_sources(paths: list[Path]) -> list[Source]:
    """Find all motion files in files, folders (searched recursively) and .zip archives of .bvh files.

    Raises:
        UserError: no such path, or nothing found.
    """
    found = [source for path in paths for source in _found(Path(path))]
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no motion files there ({', '.join(SUFFIXES)}, .zip of .bvh)")
    return found


def _found(path: Path) -> Iterator[Source]:
    suffixes = {*BODY_SUFFIXES, ".zip"}
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if each.is_file() and each.suffix.lower() in suffixes:
                yield from _found(each)
    elif not path.is_file():
        raise UserError(f"{path}: no such file")
    elif path.suffix.lower() == ".zip":
        try:
            with open_archive(path, _MAX_ARCHIVE, _ARCHIVE) as archive:
                names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        except UserError:
            yield Source(path)  # what is wrong is told when it is read
            return
        yield from (Source(path, name) for name in names if name.lower().endswith(_IN_ARCHIVES))
    else:
        yield Source(path)


class PoseCollection:
    """Features [N, W] float32 in an unnamed temporary file, so that memory does not grow with N."""

    def __init__(self, width: int):
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the collection
        self.width = width

    def add(self, features: np.ndarray) -> None:
        """Append features [N, W]."""
        self._file.write(np.ascontiguousarray(features, np.float32).tobytes())

    def __len__(self) -> int:
        return self._file.tell() // (4 * self.width)

    def array(self) -> np.ndarray:
        """Return the features [N, W], mapped from disk."""
        self._file.flush()
        if not len(self):
            return np.empty((0, self.width), np.float32)
        return np.memmap(self._file, np.float32, "r", shape=(len(self), self.width))


def collect_poses(
    sources: list[Source],
    kept: PoseCollection,
    held_out: PoseCollection,
    share: float,
    progress: Progress,
    workers: int | None = None,
) -> int:
    """Read motions on all cores, and append their poses in the order of the sources.

    Args:
        share: fraction of each motion's frames, at its end, that goes to `held_out`.
        workers: processes that read; None for one per core, or only this one where there is little to read.

    Returns:
        The number of sources that were read. Unreadable ones are noted and left out.

    Raises:
        UserError: none could be read.
    """
    read, broken = 0, []
    workers = workers or (os.cpu_count() or 1 if len(sources) > _WORTH_A_PROCESS else 1)
    with ExitStack() as stack:
        if workers > 1:
            context = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, context, initializer=_prepare_process))
            results = pool.map(_read, sources)
        else:
            _prepare()
            results = map(_read, sources)
        for poses, problem in follow(results, progress, "Reading motions", len(sources)):
            if poses is None:
                broken.append(problem)
                continue
            last = len(poses) - round(len(poses) * share)
            kept.add(poses[:last])
            held_out.add(poses[last:])
            read += 1
    for problem in broken[:_NAMED]:
        progress.note(f"Left out: {problem}")
    if len(broken) > _NAMED:
        progress.note(f"Left out: {len(broken) - _NAMED} more files that cannot be read")
    if not read:
        raise UserError(f"none of {len(sources)} motion files can be read; the first: {broken[0]}")
    return read


def _prepare_process() -> None:
    torch.set_num_threads(1)  # there is one process per core
    _prepare()


def _prepare() -> None:
    _worker["template"] = load_template()
    _worker["features"] = PoseFeatures(_worker["template"])


_worker: dict = {}  # of a reading process: objects that take long to build


def _read(source: Source) -> tuple[np.ndarray | None, str]:
    """Return features [N, W] and no message, or none and what is wrong with the source."""
    try:
        with _on_disk(source) as path:
            motion = read_motion(path, _worker["template"])
    except UserError as error:
        return None, str(error)
    seen = motion.confidence[:, 0] > 0
    if not seen.any():
        return None, f"{source}: its body does not move"
    motion = motion[seen]
    features = _worker["features"].of(motion.root_rotation.double().numpy(), motion.pose.double().numpy())
    return features.astype(np.float32), ""


@contextmanager
def _on_disk(source: Source) -> Iterator[Path]:
    """Yield the file of a source; an entry of an archive is unpacked, and named as such in UserErrors within."""
    if not source.entry and source.path.suffix.lower() != ".zip":
        yield source.path
        return
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / f"motion{_IN_ARCHIVES}"  # whatever its name in the archive is
        with open_archive(source.path, _MAX_ARCHIVE, _ARCHIVE) as archive:
            try:
                entry = archive.getinfo(source.entry or "")
                packed = min(entry.compress_size, source.path.stat().st_size)
                most = min(_MAX_ENTRY, max(_SMALL_ENTRY, _RATIO * packed))
                unpacked.write_bytes(read_entry(archive, entry, most))
            except (ValueError, KeyError) as error:
                raise UserError(f"{source.path}: {error}") from None
        try:
            yield unpacked
        except UserError as error:
            raise UserError(str(error).replace(str(unpacked), str(source))) from None
