"""Make the motion prior that ships with the package: `python scripts/make_motion_prior.py CMU`.

CMU is a folder with motions of the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu, free for all uses) as
.asf and .amc files. The shipped prior has subjects 01, 02 and 03, 28 motions, and improvisations of the built-in
performer, which the script generates. Takes a few minutes on two cores.
"""

import argparse
import tempfile
from pathlib import Path

from ram_avatar.body import load_template
from ram_avatar.cli.terminal import TerminalProgress
from ram_avatar.motion.alignment.prior_file import SHIPPED
from ram_avatar.motion.alignment.prior_training import fit_prior
from ram_avatar.synthetic.improvisation import improvised
from ram_avatar.synthetic.performances import perform

IMPROVISATIONS, FRAMES, FPS = 8, 2700, 30.0
LICENCE = (
    "Free for all uses. The CMU motions may be copied, modified and redistributed, also in products that are sold, "
    "only not resold as they are; the improvisations are this project's own."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cmu", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    template = load_template()
    with tempfile.TemporaryDirectory() as scratch, TerminalProgress() as progress:
        folder = Path(scratch) / "improvisations"
        folder.mkdir()
        for seed in range(IMPROVISATIONS):
            perform(improvised(seed), template, FRAMES, FPS, seed).save(folder / f"{seed}.npz")
        fit_prior(
            [arguments.cmu, folder],
            arguments.out,
            template=template,
            licence=LICENCE,
            command="python scripts/make_motion_prior.py CMU",
            overwrite=True,
            progress=progress,
        )


if __name__ == "__main__":
    main()
