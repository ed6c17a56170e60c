"""Motion from another program, as the Virtual Motion Capture protocol sends it: OSC messages over UDP.

https://protocol.vmc.info/english. What is read: `/VMC/Ext/Root/Pos`, `/VMC/Ext/Bone/Pos`, `/VMC/Ext/Blend/Val` and
`/VMC/Ext/Blend/Apply`; all else is passed over. Whoever can send to the port can move the avatar: it is open to this
machine alone, unless another address is asked for.
"""

import copy
import math
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from ..avatar import Avatar
from ..core.errors import UserError
from ..motion.conversion.vrm import BONES, FromHumanoid, Humanoid
from ..motion.motion import Motion
from ..motion.retargeting.retarget import Person
from .driver import Driven, Status
from .live_retargeting import Carrier
from .settings import Settings

SCHEME = "vmc://"
MAX_PACKET = 16 << 10  # bytes; a whole body with its face takes 8 kB in one
MAX_BLENDS = 512  # names of blend shapes that are kept
MAX_NAME = 64  # characters
_FARTHEST = 100.0  # metres: further away is a mistake
_SILENCE = 1.0  # seconds without a packet after which nobody is there
_FPS = 30.0  # nominal
_SHORTEST, _LONGEST = 1e-3, 0.5  # seconds between two frames, as motion counts them


@dataclass(frozen=True)
class VmcAddress:
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "VmcAddress":
        """Of `vmc://:39539`, or `vmc://ADDRESS:39539` for others than this machine.

        Raises:
            UserError: no port, or none that there is.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            port = None
        if port is None or parts.path not in ("", "/"):
            raise UserError(f"{text}: not an address to listen on; that is vmc://:39539")
        return cls(parts.hostname or "127.0.0.1", port)


class VmcReceiver:
    """Listens, and keeps the newest that was said of every bone and blend shape.

    Raises:
        UserError: the port is in use, or cannot be listened on.
    """

    def __init__(self, address: VmcAddress):
        try:
            family, kind, number, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, number)
            self._socket.bind(place)
        except OSError as error:
            raise UserError(
                f"vmc://{address.host}:{address.port} cannot be listened on ({error.strerror or error}); "
                "does another program have this port?"
            ) from None
        self._socket.settimeout(0.2)
        self._humanoid, self._coming = Humanoid(), {}
        self._heard = -math.inf
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="vmc", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    def newest(self) -> tuple[Humanoid, float]:
        """The humanoid, and when it was last heard of (`time.monotonic`)."""
        with self._lock:
            return copy.deepcopy(self._humanoid), self._heard

    def take(self, packet: bytes) -> None:
        """Read a packet; one that is broken or too large is passed over."""
        from pythonosc.osc_packet import OscPacket

        if len(packet) > MAX_PACKET:
            return
        try:
            messages = [timed.message for timed in OscPacket(packet).messages]
        except Exception:  # whatever a broken packet makes the parser raise: it may come from anybody
            return
        with self._lock:
            for message in messages:
                if self._read(message.address, message.params):
                    self._heard = time.monotonic()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self.take(self._socket.recv(MAX_PACKET + 1))
            except TimeoutError:
                pass
            except OSError:  # of an earlier answer that nobody took: Windows tells it here
                time.sleep(0.01)

    def _read(self, address: str, values: list) -> bool:
        """Keep what a message says; False where it says nothing that is of use."""
        humanoid = self._humanoid
        if address == "/VMC/Ext/Bone/Pos" and (told := _told(values)) and told[0] in BONES:
            humanoid.positions[told[0]], humanoid.rotations[told[0]] = told[1:]
        elif address == "/VMC/Ext/Root/Pos" and (told := _told(values)):
            humanoid.root = told[1:]
        elif address == "/VMC/Ext/Blend/Val" and len(values) == 2 and _is_name(values[0]) and _finite(values[1:]):
            if len(self._coming) < MAX_BLENDS:
                self._coming[values[0].lower()] = min(max(float(values[1]), 0.0), 1.0)
        elif address == "/VMC/Ext/Blend/Apply":
            humanoid.blends = self._coming
            self._coming = {}
        else:
            return False
        return True


class VmcDriver:
    """Drives an avatar by what a receiver hears. See `pipeline.Driver` for the methods.

    The avatar's own build is taken for the humanoid's, scaled by the legs.

    Args:
        receiver: closed by `close`.
    """

    takes_long = False

    def __init__(self, avatar: Avatar, receiver: VmcReceiver):
        self._avatar, self._template = avatar, avatar.template.to("cpu")
        self._convert = FromHumanoid(self._template, avatar.person.identity)
        self._receiver, self._settings = receiver, Settings()
        self.reset()

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        humanoid, heard = self._receiver.newest()
        if not humanoid.rotations:
            return Driven(None, Status.WAITING)
        if time.monotonic() - heard > _SILENCE:
            return Driven(None, Status.LOST)
        frame = self._convert.frame(humanoid)
        if self._carrier is None:
            here = Motion.of_frames(self._template.name, _FPS, [frame])
            source = Person.of(here, self._template, self._avatar.person.identity)
            self._carrier = Carrier(self._avatar, source, _FPS, self._settings)
        passed = 1 / _FPS if self._last is None else min(max(seconds - self._last, _SHORTEST), _LONGEST)
        self._last = seconds
        return Driven(self._carrier.step(frame, passed), Status.SEEN)

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        if self._carrier is not None:
            self._carrier.adjust(settings)

    def calibrate(self) -> None:
        """Where the humanoid stands now is where the avatar stands."""
        self._carrier = None

    def reset(self) -> None:
        self._carrier: Carrier | None = None
        self._last: float | None = None

    def close(self) -> None:
        self._receiver.close()


def _told(values: list) -> tuple[str, tuple, tuple] | None:
    """Name in lower case, position and unit quaternion of a message's values; None where they are none."""
    if len(values) < 8 or not _is_name(values[0]) or not _finite(values[1:8]):
        return None
    place, turn = tuple(map(float, values[1:4])), tuple(map(float, values[4:8]))
    length = math.hypot(*turn)
    if max(map(abs, place)) > _FARTHEST or not 0.5 < length < 2:
        return None
    return values[0].lower(), place, tuple(value / length for value in turn)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _finite(values: list) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
