"""Runs inputs through readers: `python worker.py SEED PLAN`; PLAN is a JSON list of [reader, first, end].

Prints a JSON line per event, with its `reader`: {"ready": bytes of memory}, {"input": number} before each input,
{"finding": ...}, {"done": end}. What a reader itself prints is a finding, too.
"""

import contextlib
import fcntl
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SECONDS = 10  # an input may take
MEMORY = 1 << 30  # bytes above the base
_ADDRESS_SPACE = 12 << 30  # protects the machine from a reader that has no bound
_LONGEST_MESSAGE = 300
_TEMPORARY = tempfile.gettempdir()  # before each reader gets its own


class Hang(BaseException):
    """An input took too long."""


def main(seed: str, plan: list[tuple[str, int, int]]) -> None:
    events = os.fdopen(os.dup(1), "w", buffering=1)
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - until the end
    fcntl.fcntl(printed, fcntl.F_SETFL, os.O_APPEND)  # it is emptied now and then
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _ring)
    for name, first, end in plan:
        report = lambda name=name, **event: print(json.dumps({"reader": name, **event}), file=events)
        try:
            _run(name, seed, range(first, end), printed, report)
        except BaseException:
            report(broken=traceback.format_exc()[-2000:])
            raise
        report(done=end)


def _run(name: str, seed: str, numbers: range, printed, report) -> None:
    import torch

    torch.set_num_threads(1)
    from fuzz.readers import READERS

    reader = READERS[name]
    with tempfile.TemporaryDirectory(dir=_TEMPORARY) as scratch:
        folder, temporary = Path(scratch) / "in", Path(scratch) / "tmp"
        folder.mkdir()
        temporary.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
        good = reader.prepare(folder)
        path = folder / reader.file
        path.parent.mkdir(exist_ok=True)
        for data in good:  # what a reader loads once belongs to the base
            path.write_bytes(data)
            reader.read(path)
        gc.collect()
        base = _peak()
        children = _peak_of_children()
        report(ready=base)
        printed.truncate(0)  # good files may bring notes
        left = _listing(Path(scratch))
        for number in numbers:
            report(input=number)
            path.write_bytes(reader.mutated(good, f"{seed}:{name}:{number}"))
            _forget_peak()
            findings = list(_judge(reader.read, path))
            above = max(_peak() - base, _peak_of_children() - children if reader.confined else 0)
            if above > MEMORY:
                findings.append(f"takes {above / 2**30:.1f} GB")
                children = max(children, _peak_of_children())
            if size := os.fstat(printed.fileno()).st_size:
                findings.append(f"prints {os.pread(printed.fileno(), min(size, 300), 0)!r}")
                printed.truncate(0)
            path.write_bytes(b"")
            if others := _listing(Path(scratch)) - left:
                findings.append(f"leaves {sorted(others)[:3]}")
                left |= others
            for finding in findings:
                report(finding=finding, input=number)
            if above > MEMORY // 4:
                gc.collect()


def _judge(read, path: Path) -> Iterator[str]:
    """Read a file, and yield what is wrong with the way it ended."""
    from ram_avatar.core.errors import UserError

    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        read(path)
    except UserError as error:
        if not str(error).isprintable() or len(str(error)) > _LONGEST_MESSAGE:
            yield f"says {str(error)!r}"
    except Hang:
        yield f"takes more than {SECONDS} s"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "ram_avatar" in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        yield f"raises {type(error).__name__} in {where}: {str(error)[:120]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ring(*_: object) -> None:
    raise Hang


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the largest memory since `_forget_peak`, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise RuntimeError("no VmHWM: not Linux")


def _peak_of_children() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
