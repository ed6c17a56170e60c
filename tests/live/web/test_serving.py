"""`ram-avatar live` as a process, from start to Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import count

import numpy as np
import pytest
from live_server import answer, ask, event, tick, until
from websockets.sync.client import connect

from ram_avatar.core.progress import Silent
from ram_avatar.drivers.options import DriverOptions
from ram_avatar.live.bench import measure
from ram_avatar.live.protocol import CameraFrame
from ram_avatar.live.session.pipeline_factory import PipelineFactory
from ram_avatar.live.web.listening import Address, listen


class Command:
    """A running `ram-avatar live`."""

    def __init__(self, *arguments: str, **environment: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from ram_avatar.cli.main import main; main()", "live", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.output.extend(iter(self.process.stdout.readline, ""))

    def link(self, timeout: float = 120.0) -> str:
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"^Open (https?://\S+)", "".join(self.output), re.M):
                return found[1]
            time.sleep(0.02)
        raise AssertionError("".join(self.output))

    def interrupt(self, timeout: float = 60.0, number: signal.Signals = signal.SIGINT) -> float:
        """Press Ctrl-C, or send another signal; return the seconds until the process ended."""
        started = time.monotonic()
        os.killpg(self.process.pid, number)
        self.process.wait(timeout)
        self._reader.join(10)
        return time.monotonic() - started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture()
def command(avatars):
    return lambda *arguments, **environment: Command(
        avatars / "ada", "--port", 0, "--no-browser", *arguments, **environment
    )


def _page(link: str):
    origin = link.rstrip("/")
    # An unread queue that is full would keep the client from answering pings, and the close of the connection.
    return connect(f"{origin.replace('http', 'ws')}/socket?page=p", origin=origin, max_queue=None)


@pytest.mark.slow
def test_ctrl_c_ends_a_running_session(command, motion_file):
    with command("--source", motion_file) as live:
        page = _page(live.link())
        assert event(page, "welcome")["driver"] == "source"
        page.send(CameraFrame(1, 1.0).pack())
        assert not answer(page).dropped
        for number in range(2, 40):
            page.send(CameraFrame(number, 40.0 * number).pack())
        assert live.interrupt() < 60
        assert live.process.returncode == 0 and "Stopped." in live.output[-1]
        assert "Traceback" not in "".join(live.output)
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_every_signal_that_ends_it_removes_its_files(command, motion_file, tmp_path, name):
    """Those of a recording in progress, among them."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    with command("--source", motion_file, TMPDIR=str(folder)) as live, _page(live.link()) as page:
        event(page, "welcome")
        ask(page, "record", on=True)
        event(page, "recording")
        numbers = count()
        # The recorder makes its file with the first picture, which may be shown late.
        until(lambda: tick(page, next(numbers)) and list(folder.rglob("*.mp4")))
        live.interrupt(number=getattr(signal, name))
        assert not list(folder.iterdir())
        said = "".join(live.output)
        assert live.process.returncode == 0 and said.partition("(Ctrl-C to stop)\n")[2] == "Stopped.\n", said


@pytest.mark.slow
def test_files_of_a_killed_server_are_removed_by_the_next(command, motion_file, tmp_path):
    """But not those of one that runs."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    arguments, environment = ("--source", motion_file), {"TMPDIR": str(folder)}
    with command(*arguments, **environment) as running, _page(running.link()) as page:
        event(page, "welcome")
        kept = set(folder.iterdir())
        assert len(kept) == 1
        with command(*arguments, **environment) as killed, _page(killed.link()) as other:
            event(other, "welcome")
            killed.interrupt(number=signal.SIGKILL)
        assert len(set(folder.iterdir()) - kept) == 1
        with command(*arguments, **environment) as third, _page(third.link()) as other:
            event(other, "welcome")
            assert set(folder.iterdir()) > kept and len(set(folder.iterdir()) - kept) == 1
            third.interrupt()
        assert set(folder.iterdir()) == kept
        running.interrupt()
        assert not list(folder.iterdir())


@pytest.mark.slow
def test_ctrl_c_ends_while_the_avatar_is_loading(command):
    with command() as live:
        live.link()
        assert live.interrupt() < 60
        assert live.process.returncode == 0 and "Traceback" not in "".join(live.output)


def test_a_port_in_use_is_reported_before_loading(capsys):
    from ram_avatar.cli.main import main

    taken = listen(Address(port=0))
    port = taken.getsockname()[1]
    with pytest.raises(SystemExit) as stopped:
        main(["live", "no-such-avatar", "--port", str(port), "--no-browser"])
    taken.close()
    error = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and f"port {port} is in use" in error and "\n" not in error


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["{notes}"], "not an avatar folder"),
        (["{ada}", "--source", "absent.npz"], "absent.npz: no such file"),
        (["{ada}", "--bench"], "--source"),
        (["{ada}", "--up", "z"], "without --source: --up is for motion files"),
        (["{ada}", "--source", "vmc://:39539", "--fps", "30"], "--fps is for motion files"),
        (["{ada}", "--certificate", "absent.pem"], "absent.pem"),
        (["{ada}", "--host", "203.0.113.7"], "203.0.113.7"),
        (["{ada}", "--port", "70000"], "70000"),
    ],
)
def test_invalid_arguments_are_reported(avatars, capsys, arguments, cause):
    from ram_avatar.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "live",
                "--no-browser",
                "--port",
                "0",
                *[a.format(ada=avatars / "ada", notes=avatars / "notes") for a in arguments],
            ]
        )
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and cause in error.splitlines()[-1] and "Traceback" not in error


def test_the_bench_reports_rates_and_latencies(avatars, motion_file):
    summary = measure(PipelineFactory(avatars / "ada", source=motion_file), Silent(), seconds=1.5)
    assert summary["frames"] + summary["dropped"] >= 44 and summary["frames"] > 3 and summary["fps"] > 0
    assert (
        summary["capture_to_packed"]["p95"]
        >= summary["capture_to_packed"]["p50"]
        >= summary["latency"]["render"]["p50"]
    )


def test_the_bench_reports_a_damaged_motion(avatars, tmp_path):
    from ram_avatar.core.errors import UserError

    (tmp_path / "bad.npz").write_bytes(b"no motion")
    with pytest.raises(UserError, match=r"bad\.npz"):
        measure(PipelineFactory(avatars / "ada", source=tmp_path / "bad.npz"), Silent())


def test_a_source_without_a_frame_rate(avatars, avatar, listener, tmp_path):
    """It plays at the given rate, and the inferred up axis is noted."""
    parts = {"global_orient": np.zeros((6, 3)), "body_pose": np.zeros((6, 63))}
    np.savez(tmp_path / "smplx.npz", **parts, transl=np.tile([0.0, 1.3, 2.0], (6, 1)))
    options = DriverOptions(fps=20.0)
    factory = PipelineFactory(avatars / "ada", source=tmp_path / "smplx.npz", options=options, progress=listener)
    driver = factory.driver(avatar, "source")
    assert [driver.index(seconds) for seconds in (0.0, 0.06, 0.11)] == [0, 1, 2]
    assert len(listener.notes) == 1 and "assumed y is up" in listener.notes[0]
