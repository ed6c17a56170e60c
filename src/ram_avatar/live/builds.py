"""People's builds: learned from what is seen of them, and remembered."""

import json
import threading
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ..body.template import BodyTemplate
from ..cache import cache_folder
from ..files import temporary_sibling
from ..tracking.fitting import FitSettings, fit
from ..tracking.landmarks import Landmarks
from ..tracking.observations import observe

BUILD_FILE = "live-build.json"
_FIT = FitSettings(body_iterations=50, full_iterations=70)
_MAX_BYTES = 1 << 20


def remembered_build(template: BodyTemplate) -> Tensor | None:
    """The identity [I] of who was here last, or None: nobody was, or the file is of another template or damaged."""
    path = cache_folder() / BUILD_FILE
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        kept = json.loads(path.read_text())
        identity = torch.tensor(kept["identity"], dtype=torch.float32)
        if kept["template"] != template.name or identity.shape != (len(template.identity_names),):
            return None
    except (OSError, ValueError, KeyError, TypeError):  # it is only a memory: the build is learned anew
        return None
    bounds = template.identity_range
    return identity if ((identity >= bounds.low) & (identity <= bounds.high)).all() else None


def remember_build(template: BodyTemplate, identity: Tensor) -> None:
    """Keep an identity [I] for the next session. It is a body's proportions: no picture, and no name."""
    path = cache_folder() / BUILD_FILE
    partial = temporary_sibling(path)
    try:
        partial.write_text(json.dumps({"template": template.name, "identity": identity.tolist()}) + "\n")
        partial.replace(path)
    except OSError:  # a full or read-only disk: learned anew next time
        partial.unlink(missing_ok=True)


class BuildFit:
    """The offline fit of a few moments, beside the session: the person goes on moving meanwhile.

    Args:
        clip: what was seen, of one person.
        width, height: of the pictures.
        fps: about how many of the moments are in a second.
    """

    def __init__(self, template: BodyTemplate, clip: Sequence[Landmarks], width: int, height: int, fps: float):
        self._template, self._seen = template, observe(clip, width, height, fps)
        self._identity: Tensor | None = None
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="build")
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def identity(self) -> Tensor | None:
        """[I], once it is found."""
        return None if self.running else self._identity

    def close(self) -> None:
        """Give it up; returns when the thread has ended, after the step that it is at."""
        self._unwanted.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(_Unwanted):
            self._identity = fit(self._template, self._seen, settings=_FIT, on_step=self._go_on).identity

    def _go_on(self, done: int, total: int) -> None:
        if self._unwanted.is_set():
            raise _Unwanted


class _Unwanted(Exception):
    """Nobody waits for the result any more."""
