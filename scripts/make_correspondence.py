"""Measure where the default detector's landmarks lie on Anny: the data that `tracking.correspondence` ships.

See `tracking.correspondence_measuring`. Takes about a minute on one core:

    python scripts/make_correspondence.py
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from ram_avatar.body import load_template
from ram_avatar.core.progress import Silent
from ram_avatar.tracking.correspondence_measuring import measure
from ram_avatar.tracking.detection.detectors import DEFAULT_TOPOLOGY

DATA = Path(__file__).parents[1] / "src/ram_avatar/tracking/data"


class _Printed(Silent):
    """Progress that prints its notes."""

    def note(self, text: str) -> None:
        print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="npz file (default: the package's data)")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    template = load_template()
    arrays = measure(template, DEFAULT_TOPOLOGY, _Printed())
    output = output or DATA / f"{template.name}-{DEFAULT_TOPOLOGY.name}.npz"
    np.savez_compressed(output, **arrays)
    print(f"wrote {output} ({output.stat().st_size / 1024:.0f} KB)")


if __name__ == "__main__":
    main()
