import logging.config
import math
import socket
import time

import numpy as np
import pytest

pytest.importorskip("pythonosc", reason="the extra [live] is not installed")

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from ram_avatar.core.errors import UserError
from ram_avatar.drivers import vmc
from ram_avatar.drivers.driver import Status
from ram_avatar.drivers.settings import Settings
from ram_avatar.drivers.sources import VmcSource, open_driver
from ram_avatar.drivers.vmc import (
    MAX_BLENDS,
    MAX_PACKET,
    VmcAddress,
    VmcDriver,
    VmcReceiver,
)
from ram_avatar.live.session.pipeline_factory import PipelineFactory

STILL = (0.0, 0.0, 0.0, 1.0)


def message(address: str, *values):
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build()


def bone(name: str, turn=STILL, place=(0.0, 0.0, 0.0)):
    return message("/VMC/Ext/Bone/Pos", name, *place, *turn)


def bundle(*messages) -> bytes:
    builder = OscBundleBuilder(IMMEDIATELY)
    for each in messages:
        builder.add_content(each)
    return builder.build().dgram


@pytest.fixture()
def receiver():
    receiver = VmcReceiver(VmcAddress("127.0.0.1", 0))
    yield receiver
    receiver.close()


def _send(receiver, packet: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(packet, ("127.0.0.1", receiver.port))


def test_packets_come_over_the_network(receiver):
    _send(receiver, b"nonsense")
    _send(receiver, bundle(bone("Hips", place=(0.0, 0.9, 0.0)), bone("LeftUpperArm", (0.0, 0.0, 1.0, 1.0))))
    until = time.monotonic() + 10
    while not receiver.newest()[0].rotations:
        assert time.monotonic() < until
        time.sleep(0.01)
    humanoid, heard = receiver.newest()
    assert humanoid.positions["hips"] == pytest.approx((0.0, 0.9, 0.0))
    assert humanoid.rotations["leftupperarm"] == pytest.approx((0, 0, math.sqrt(0.5), math.sqrt(0.5)))  # normalized
    assert time.monotonic() - heard < 10


def test_blend_shapes_change_on_apply(receiver):
    receiver.take(message("/VMC/Ext/Blend/Val", "JawOpen", 0.5).dgram)
    assert receiver.newest()[0].blends == {}
    receiver.take(bundle(message("/VMC/Ext/Blend/Val", "Blink", 7.0), message("/VMC/Ext/Blend/Apply")))
    assert receiver.newest()[0].blends == {"jawopen": 0.5, "blink": 1.0}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"#bundle\0",
        b"/VMC/Ext/Bone/Pos\0\0\0,sfff\0\0\0",
        bytes(range(256)),
        bone("Hips", (math.nan, 0.0, 0.0, 1.0)).dgram,
        bone("Hips", (math.inf, 0.0, 0.0, 1.0)).dgram,
        bone("Hips", (0.0, 0.0, 0.0, 0.0)).dgram,
        bone("Hips", place=(1e9, 0.0, 0.0)).dgram,
        bone("NoSuchBone").dgram,
        message("/VMC/Ext/Bone/Pos", "Hips", 1.0).dgram,
        message("/VMC/Ext/Bone/Pos", *["Hips"] * 8).dgram,
        message("/VMC/Ext/Bone/Pos").dgram,
        message("/another/Program", 1).dgram,
    ],
)
def test_malformed_packets_are_ignored(receiver, packet):
    receiver.take(packet)
    humanoid, heard = receiver.newest()
    assert humanoid == type(humanoid)() and heard == -math.inf


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(range(256)),
        b"#bundle\0" + bytes(8) + b"\xff\xff\xff\xfcabcd",  # a size of -4: python-osc alone would read it for ever
        b"#bundle\0" + bytes(8) + b"\0\0\0\0" * 100,
        b"#bundle\0" + bytes(8) + b"\0\0\1\0/x\0\0",
        b"/x\0\0,\xff\0\0",
        b"/x\0\0,]\0\0",
        bytes(MAX_PACKET + 1),
    ],
)
def test_malformed_packets_are_counted_and_told_once_a_minute(receiver, packet, caplog, capfd, monkeypatch):
    for _ in range(50):
        receiver.take(packet)
    assert [record.getMessage() for record in caplog.records] == [
        f"VMC port {receiver.port}: malformed packets ignored: 1"
    ]
    monkeypatch.setattr(vmc, "_COMPLAINT_INTERVAL", 0.0)
    receiver.take(packet)
    assert caplog.records[-1].getMessage().endswith(": 50") and len(caplog.records) == 2
    assert capfd.readouterr() == ("", "")


def test_messages_of_unknown_types_are_ignored_in_silence(receiver, caplog, capfd):
    """The library would log a line for each of the values. Configuring logs, as uvicorn does, enables every logger."""
    logging.config.dictConfig({"version": 1, "incremental": False, "disable_existing_loggers": False})
    receiver.take(b"/x\0\0," + b"q" * 15000 + bytes(4))
    receiver.take(bundle(message("/x", 1), bone("Hips")))
    assert receiver.newest()[0].rotations and not caplog.records and capfd.readouterr() == ("", "")


def test_stored_values_are_bounded(receiver):
    receiver.take(bundle(*[bone("Hips")] * 400))  # more than a packet may hold
    assert not receiver.newest()[0].rotations and len(bundle(*[bone("Hips")] * 400)) > MAX_PACKET
    for k in range(MAX_BLENDS + 50):
        receiver.take(message("/VMC/Ext/Blend/Val", f"b{k}", 0.1).dgram)
    receiver.take(message("/VMC/Ext/Blend/Val", "x" * 1000, 0.1).dgram)
    receiver.take(message("/VMC/Ext/Blend/Apply").dgram)
    assert len(receiver.newest()[0].blends) == MAX_BLENDS
    deep = b"#bundle\0" + bytes(7) + b"\1"
    for _ in range(700):
        inner = deep[-12000:]
        deep = b"#bundle\0" + bytes(7) + b"\1" + len(inner).to_bytes(4, "big") + inner
    receiver.take(deep[:MAX_PACKET])
    assert not receiver.newest()[0].rotations


def test_addresses():
    assert open_driver("vmc://:39539") == VmcSource(VmcAddress("127.0.0.1", 39539))  # this machine alone
    assert open_driver("vmc://0.0.0.0:39540") == VmcSource(VmcAddress("0.0.0.0", 39540))
    for text in ("vmc://", "vmc://host", "vmc://:99999", "vmc://:abc", "vmc://:39539/path"):
        with pytest.raises(UserError, match="vmc://:39539"):
            open_driver(text)


def test_a_port_in_use_is_reported(receiver):
    with pytest.raises(UserError, match="another program"):
        VmcReceiver(VmcAddress("127.0.0.1", receiver.port))


def test_the_avatar_follows_the_stream(template, avatar, receiver, monkeypatch):
    driver = VmcDriver(avatar, receiver)
    driver.adjust(Settings(mirror=False))
    assert driver.drive(None, 0.0).status == Status.WAITING
    body = [bone("Hips", place=(0.0, 0.85, 0.0)), bone("LeftUpperLeg", place=(-0.1, -0.05, 0.0))]
    body += [bone("RightUpperLeg", place=(0.1, -0.05, 0.0)), bone("LeftLowerLeg", place=(0.0, -0.4, 0.0))]
    body += [bone("LeftFoot", place=(0.0, -0.4, 0.0))]
    receiver.take(bundle(*body))
    first = driver.drive(None, 0.1)
    assert first.status == Status.SEEN
    place = avatar.placement
    assert np.allclose(first.frame.root_translation[:2], [place.x, place.y], atol=0.02)
    receiver.take(bone("LeftUpperArm", (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))).dgram)
    for k in range(20):
        driven = driver.drive(None, 0.2 + 0.04 * k)
    row = template.pose_roles.index("upper_arm.L")
    assert np.linalg.norm(driven.frame.pose[row] - first.frame.pose[row]) > 1.0
    driver.calibrate()
    assert driver.drive(None, 1.1).frame is not None
    monkeypatch.setattr(vmc, "_SILENCE", -1.0)
    lost = driver.drive(None, 1.2)
    assert lost.status == Status.LOST and lost.frame is None


def test_a_source_can_be_another_program(avatars):
    factory = PipelineFactory(avatars / "ada", source="vmc://:0")
    avatar, _ = factory.load("ada")
    driver = factory.driver(avatar, "source")
    assert isinstance(driver, VmcDriver) and driver.drive(None, 0.0).status == Status.WAITING
    driver.close()
