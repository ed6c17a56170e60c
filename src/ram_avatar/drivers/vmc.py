"""Motion from another program, as the Virtual Motion Capture protocol sends it: OSC messages over UDP.

https://protocol.vmc.info/english. Reads `/VMC/Ext/Root/Pos`, `/VMC/Ext/Bone/Pos`, `/VMC/Ext/Blend/Val` and
`/VMC/Ext/Blend/Apply`, and ignores all other messages. Anyone who can send to the port can move the avatar, so it is
open to this machine alone unless another address is given.
"""

import copy
import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from ..avatar import Avatar
from ..core.errors import UserError
from ..motion.conversion.vrm import BONES, FromHumanoid, Humanoid
from ..motion.motion import Motion
from ..motion.retargeting.retarget import Person
from .driver import Driven, Status
from .frame_clock import FrameClock
from .live_retargeting import LiveRetargeter
from .settings import Settings

log = logging.getLogger(__name__)
_SILENT = logging.Logger("pythonosc", logging.CRITICAL + 1)  # not one of the registered, which others may enable

SCHEME = "vmc://"
MAX_PACKET = 16 << 10  # bytes; a whole body with its face takes 8 kB in one
MAX_BLENDS = 512  # blend shapes that are kept
MAX_NAME = 64  # characters
_BUNDLE, _BUNDLE_HEAD = b"#bundle\0", 16  # its mark; and that with its time, bytes
_MAX_DEPTH = 4  # of bundles within bundles
_COMPLAINT_INTERVAL = 60.0  # seconds
_FARTHEST = 100.0  # metres; a larger coordinate is an error
_SILENCE = 1.0  # seconds without a packet after which the person counts as lost
_FPS = 30.0  # nominal

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class VmcAddress:
    """An address to listen on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "VmcAddress":
        """Parse `vmc://:39539`, or `vmc://ADDRESS:39539` to listen to other machines.

        Raises:
            UserError: the port is missing or invalid.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            port = None
        if port is None or parts.path not in ("", "/"):
            raise UserError(f"{text}: not an address to listen on; write vmc://:39539")
        return cls(parts.hostname or "127.0.0.1", port)


class VmcReceiver:
    """Listens in a thread, and keeps the latest value of every bone and blend shape.

    Raises:
        UserError: the port is in use, or not permitted.
    """

    def __init__(self, address: VmcAddress):
        try:
            family, kind, number, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, number)
            self._socket.bind(place)
        except OSError as error:
            raise UserError(
                f"vmc://{address.host}:{address.port} cannot be opened ({error.strerror or error}); "
                "does another program use this port?"
            ) from None
        self._socket.settimeout(0.2)
        self._humanoid = Humanoid()
        self._pending: dict[str, float] = {}  # blend shapes since the last Apply
        self._heard = -math.inf
        self._rejected = 0  # packets since the last complaint
        self._complained = -math.inf
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="vmc", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._socket.getsockname()[1]

    def newest(self) -> tuple[Humanoid, float]:
        """Return the humanoid, and when its last message came (`time.monotonic`)."""
        with self._lock:
            return copy.deepcopy(self._humanoid), self._heard

    def take(self, packet: bytes) -> None:
        """Read a packet; ignore and count one that is malformed or too large."""
        try:
            if len(packet) > MAX_PACKET:
                raise ValueError("too large")
            messages = [_parse(message) for message in _messages(packet)]
        except Exception:  # the packet may come from anyone, and make the parser raise anything
            self._reject()
            return
        with self._lock:
            for address, values in messages:
                if self._read(address, values):
                    self._heard = time.monotonic()

    def _reject(self) -> None:
        self._rejected += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_INTERVAL:
            log.warning("VMC port %d: malformed packets ignored: %d", self.port, self._rejected)
            self._rejected, self._complained = 0, now

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self.take(self._socket.recv(MAX_PACKET + 1))
            except TimeoutError:
                pass
            except OSError:  # Windows reports here that an earlier answer was not delivered
                time.sleep(0.01)

    def _read(self, address: str, values: list) -> bool:
        """Store the content of a message; return whether it had any that is used."""
        humanoid = self._humanoid
        if address == "/VMC/Ext/Bone/Pos" and (joint := _parse_joint(values)) and joint[0] in BONES:
            humanoid.positions[joint[0]], humanoid.rotations[joint[0]] = joint[1:]
        elif address == "/VMC/Ext/Root/Pos" and (joint := _parse_joint(values)):
            humanoid.root = joint[1:]
        elif address == "/VMC/Ext/Blend/Val" and len(values) == 2 and _is_name(values[0]) and _finite(values[1:]):
            if len(self._pending) < MAX_BLENDS:
                self._pending[values[0].lower()] = min(max(float(values[1]), 0.0), 1.0)
        elif address == "/VMC/Ext/Blend/Apply":
            humanoid.blends = self._pending
            self._pending = {}
        else:
            return False
        return True


class VmcDriver:
    """Drives an avatar by a VRM humanoid from another program. See `driver.Driver` for the methods.

    The humanoid is taken to have the avatar's build, scaled by the legs.

    Args:
        receiver: closed by `close`.
    """

    takes_long = False

    def __init__(self, avatar: Avatar, receiver: VmcReceiver):
        self._avatar, self._template = avatar, avatar.template.to("cpu")
        self._convert = FromHumanoid(self._template, avatar.person.identity)
        self._receiver, self._settings = receiver, Settings()
        self._retargeter: LiveRetargeter | None = None
        self._clock = FrameClock(_FPS)

    def drive(self, rgb: np.ndarray | None, seconds: float) -> Driven:
        humanoid, heard = self._receiver.newest()
        if not humanoid.rotations:
            return Driven(None, Status.WAITING)
        if time.monotonic() - heard > _SILENCE:
            return Driven(None, Status.LOST)
        frame = self._convert.frame(humanoid)
        if self._retargeter is None:
            here = Motion.of_frames(self._template.name, _FPS, [frame])
            source = Person.of(here, self._template, self._avatar.person.identity)
            self._retargeter = LiveRetargeter(self._avatar, source, _FPS, self._settings)
        return Driven(self._retargeter.step(frame, self._clock.step(seconds)), Status.SEEN)

    def adjust(self, settings: Settings) -> None:
        self._settings = settings
        if self._retargeter is not None:
            self._retargeter.adjust(settings)

    def calibrate(self) -> None:
        """Take the humanoid's current place for the avatar's."""
        self._retargeter = None

    def reset(self) -> None:
        self._retargeter, self._clock = None, FrameClock(_FPS)

    def close(self) -> None:
        self._receiver.close()


def _messages(packet: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield the messages of a packet: itself, or those of a bundle.

    python-osc could do this, too, but does not return from a bundle whose size is negative.

    Raises:
        ValueError: it is malformed.
    """
    if not packet.startswith(_BUNDLE):
        yield packet
        return
    if depth == _MAX_DEPTH:
        raise ValueError("bundles within bundles within bundles")
    at = _BUNDLE_HEAD
    while at < len(packet):
        size = int.from_bytes(packet[at : at + 4], "big")
        at += 4 + size
        if size == 0 or at > len(packet):
            raise ValueError("a bundle of another length than it says")
        yield from _messages(packet[at - size : at], depth + 1)


def _parse(message: bytes) -> tuple[str, list]:
    """Return the address and the values of an OSC message. May raise anything if it is malformed."""
    from pythonosc import osc_message

    # The parser logs to the root logger, for every byte that it does not know.
    setattr(osc_message, "logging", _SILENT)  # noqa: B010 # a type checker knows it as the module
    if not osc_message.OscMessage.dgram_is_message(message):
        raise ValueError("no address")
    parsed = osc_message.OscMessage(message)
    return parsed.address, parsed.params


def _parse_joint(values: list) -> tuple[str, Vector, Quaternion] | None:
    """Return the name in lower case, position and unit quaternion of a message; None if it is malformed."""
    if len(values) < 8 or not _is_name(values[0]) or not _finite(values[1:8]):
        return None
    x, y, z, *turn = map(float, values[1:8])
    length = math.hypot(*turn)
    if max(abs(x), abs(y), abs(z)) > _FARTHEST or not 0.5 < length < 2:
        return None
    a, b, c, d = (value / length for value in turn)
    return values[0].lower(), (x, y, z), (a, b, c, d)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


def _finite(values: list) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
