"""Throws mutated files at the readers of untrusted files, each in processes of its own.

python tests/fuzz/campaign.py                       # 1,000 inputs for each reader, fewer for slow ones
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

INPUTS = 1000
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
    gave_up: bool = False

    def lines(self) -> list[str]:
        """Return a line for each finding, with its seed."""
        return [f"{self.seed}:{self.reader}:{number}: {what}" for number, what in self.findings]


def fuzz(counts: dict[str, int], seed: str) -> dict[str, Outcome]:
    """Run inputs through readers, one after the other. A worker that dies is replaced, and its death is a finding.

    Args:
        counts: number of inputs by reader.
    """
    outcomes = {name: Outcome(name, seed) for name in counts}
    for _ in range(_RESTARTS):
        plan = [
            [name, outcomes[name].inputs, count]
            for name, count in counts.items()
            if outcomes[name].inputs < count and not outcomes[name].gave_up
        ]
        if not plan:
            break
        _work(outcomes, seed, plan)
    return outcomes


def _work(outcomes: dict[str, Outcome], seed: str, plan: list[list]) -> None:
    """Start a worker, and follow it to its end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(_WORKER), seed, json.dumps(plan)]
    outcome, broken, ready, since = outcomes[plan[0][0]], "", False, time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    watch = Timer(_STUCK, process.kill)
    watch.start()
    for line in process.stdout:
        watch.cancel()
        watch = Timer(_STUCK, process.kill)
        watch.start()
        event = json.loads(line)
        if event["reader"] != outcome.reader:
            outcome, ready, since = outcomes[event["reader"]], False, time.monotonic()
        ready = ready or "ready" in event
        broken = event.get("broken", broken)
        if "finding" in event:
            outcome.findings.append((event["input"], event["finding"]))
        elif "input" in event:
            outcome.inputs = event["input"] + 1
        elif "done" in event:
            outcome.inputs, outcome.seconds = event["done"], outcome.seconds + time.monotonic() - since
    code = process.wait()
    watch.cancel()
    if code != 0:
        how = broken.strip().splitlines()[-1] if broken else f"exit code {code}"
        what = f"ends the process ({how})" if ready else f"cannot read its good files ({how})"
        outcome.findings.append((outcome.inputs - ready, what))
        outcome.seconds += time.monotonic() - since
        outcome.gave_up = not ready


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
    count = {name: options.inputs // READERS[name].share for name in names}
    names.sort(key=lambda name: -READERS[name].share)  # the slow ones first
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda name: fuzz({name: count[name]}, options.seed)[name], names):
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
