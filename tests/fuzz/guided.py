"""Coverage-guided inputs for the readers that are written in Python throughout: `python tests/fuzz/guided.py bvh`.

Atheris keeps the inputs that reach new lines of this package, and mutates those. A crash is saved as `crash-...` in the
current folder.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SMALL = ("request", "packet", "joint map", "recipe", "csv", "amc", "asf", "bvh")
_INSTRUMENTED = ["ram_avatar.core.untrusted", "ram_avatar.motion", "ram_avatar.config", "ram_avatar.drivers", "yaml"]
_LARGEST = 20_000  # bytes of an input


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=SMALL)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from fuzz.readers import READERS
        from ram_avatar.core.errors import UserError

        reader = READERS[options.reader]
        folder = Path(tempfile.mkdtemp())
        path, corpus = folder / reader.file, folder / "corpus"
        corpus.mkdir()
        for number, data in enumerate(reader.prepare(folder)):
            (corpus / str(number)).write_bytes(data[:_LARGEST])
            path.write_bytes(data)
            reader.read(path)  # imports the rest

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            reader.read(path)
        except UserError as error:
            assert str(error).isprintable() and len(str(error)) <= 300

    limits = [f"-max_total_time={options.seconds}", f"-max_len={_LARGEST}", "-timeout=10", "-rss_limit_mb=3000"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
