"""Throws mutated files at the readers of untrusted files, each in processes of its own.

python tests/fuzz/campaign.py                       # 10,000 inputs for each reader
python tests/fuzz/campaign.py --readers bvh csv --inputs 500 --seed 7
python tests/fuzz/campaign.py --save 7:bvh:123 bad.bvh    # the file of a finding
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

INPUTS, CONFINED_SHARE = 10_000, 10  # a process for each input takes longer: a tenth as many
_WORKER = Path(__file__).with_name("worker.py")
_STUCK = 120.0  # seconds until a worker that C code holds is ended; also the longest preparation
_RESTARTS = 20


@dataclass
class Outcome:
    """What became of a reader's inputs."""

    reader: str
    seed: str
    inputs: int = 0
    seconds: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return a line for each finding, with its seed."""
        return [f"{self.seed}:{self.reader}:{number}: {what}" for number, what in self.findings]


def fuzz(reader: str, seed: str, count: int) -> Outcome:
    """Run inputs 0 to `count` through a reader. A worker that dies is replaced, and its death is a finding."""
    outcome, started, following = Outcome(reader, seed), time.monotonic(), 0
    for _ in range(_RESTARTS):
        if following >= count:
            break
        last, ended = _work(outcome, following, count - following)
        if last < following:  # it died before its first input
            outcome.findings.append((following, f"the worker could not start: {ended}"))
            break
        if ended:
            outcome.findings.append((last, ended))
        following = last + 1
    outcome.inputs, outcome.seconds = following, time.monotonic() - started
    return outcome


def _work(outcome: Outcome, first: int, count: int) -> tuple[int, str]:
    """Start a worker; return the number of its last input, and how it died, if it did."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(_WORKER), outcome.reader, outcome.seed, str(first), str(count)]
    last, broken = first - 1, ""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        watch = Timer(_STUCK, process.kill)
        watch.start()
        assert process.stdout is not None
        for line in process.stdout:
            watch.cancel()
            watch = Timer(_STUCK, process.kill)
            watch.start()
            event = json.loads(line)
            if "finding" in event:
                outcome.findings.append((event["input"], event["finding"]))
            elif "input" in event:
                last = event["input"]
            broken = event.get("broken", broken)
        code = process.wait()
        watch.cancel()
    if code == 0:
        return first + count - 1, ""
    return last, f"ends the process ({broken.strip().splitlines()[-1] if broken else f'exit code {code}'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", nargs="*", help="default: all")
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"for each reader (default {INPUTS})")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--save", nargs=2, metavar=("SEED:READER:NUMBER", "FILE"), help="write the file of a finding")
    options = parser.parse_args()
    from fuzz.readers import READERS

    if options.save:
        _save(*options.save)
        return
    names = options.readers or list(READERS)
    count = {name: options.inputs // (CONFINED_SHARE if READERS[name].confined else 1) for name in names}
    names.sort(key=lambda name: not READERS[name].confined)  # the slow ones first
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda name: fuzz(name, options.seed, count[name]), names):
            outcomes.append(outcome)
            print(
                f"{outcome.reader:20} {outcome.inputs:6} inputs {outcome.seconds:6.0f} s "
                f"{len(outcome.findings):4} findings",
                flush=True,
            )
            kinds = Counter(what for _, what in outcome.findings)
            shown = {what: number for number, what in reversed(outcome.findings)}
            for what, times in kinds.most_common():
                print(f"    {times:4} x {what}    ({outcome.seed}:{outcome.reader}:{shown[what]})")
    found = sum(len(outcome.findings) for outcome in outcomes)
    print(f"{sum(outcome.inputs for outcome in outcomes)} inputs, {found} findings")
    sys.exit(1 if found else 0)


def _save(which: str, path: str) -> None:
    from fuzz.readers import READERS

    reader = READERS[which.split(":")[1]]
    with tempfile.TemporaryDirectory() as scratch:
        Path(path).write_bytes(reader.mutated(reader.prepare(Path(scratch)), which))


if __name__ == "__main__":
    main()
