"""Headless Chromium, controlled by the DevTools protocol over a websocket."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from websockets.sync.client import connect

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


class Tab:
    """One page. `evaluate` awaits promises; `wait` polls until an expression is true."""

    def __init__(self, browser: "Chromium", target: str, session: str):
        self._browser, self._target, self._session = browser, target, session

    def call(self, method: str, **parameters) -> dict:
        return self._browser.call(method, session=self._session, **parameters)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str):
        made = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in made:
            detail = made["exceptionDetails"]
            raise RuntimeError(detail.get("exception", {}).get("description") or detail["text"])
        return made["result"].get("value")

    def wait(self, expression: str, timeout: float = 60.0):
        """Return the first true value of an expression."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                value = self.evaluate(expression)
            except RuntimeError:  # the page is being replaced
                value = None
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(
            f"not true after {timeout} s: {expression}\nthe page: {self.evaluate('document.body.innerText')}"
        )

    def size(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        mobile = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        made = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(made["data"]))

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


class Chromium:
    """`with Chromium(video) as browser: tab = browser.tab()`.

    Args:
        video: a .y4m or .mjpeg file that its only camera plays in a loop; None for no camera.
        allow: whether to allow the camera or deny it.
    """

    def __init__(self, video: Path | None, *, allow: bool = True):
        self._folder = tempfile.TemporaryDirectory(prefix="ram-avatar-chromium-", ignore_cleanup_errors=True)
        self.downloads = Path(self._folder.name) / "downloads"
        arguments = [
            "--headless=new",
            "--no-sandbox",  # containers run tests as root
            "--disable-gpu",
            "--mute-audio",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._folder.name}/profile",
        ]
        if video is not None:
            arguments += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}"]
        arguments += ["--use-fake-ui-for-media-stream" if allow else "--deny-permission-prompts", "about:blank"]
        self._process = subprocess.Popen(
            [CHROMIUM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._socket = None
        try:
            self._socket = connect(self._address(), max_size=None, compression=None)
        except BaseException:
            self.close()
            raise
        self._count = 0
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def _address(self) -> str:
        path = Path(self._folder.name) / "profile" / "DevToolsActivePort"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if path.is_file() and len(lines := path.read_text().splitlines()) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            if self._process.poll() is not None:
                raise RuntimeError(f"chromium exited with code {self._process.returncode}")
            time.sleep(0.05)
        raise TimeoutError("chromium did not start within a minute")

    def call(self, method: str, session: str | None = None, **parameters) -> dict:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def tab(self) -> Tab:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        tab.call("Page.bringToFront")  # background tabs are hidden and throttled
        return tab

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()
