"""A headless Chromium that is driven: pages are opened, clicked on and looked at (Chrome DevTools Protocol)."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from websocket import WebSocket, create_connection

PROGRAM: Final = shutil.which("chromium") or shutil.which("google-chrome")
_FIXED: Final = ["--headless=old", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
SECONDS: Final = 60.0


class Page:
    """A tab of the browser."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket, self._sent = socket, 0

    def order(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.order("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = SECONDS) -> None:
        """Until an expression holds in the page."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds:g} s: {expression}")
            time.sleep(0.05)

    def open(self, address: str, width: int = 1400, height: int = 1000, *, dark: bool = False) -> None:
        """Load a page in a window of this size."""
        self.order(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.order("Emulation.setEmulatedMedia", features=scheme)
        self.order("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def click(self, text: str) -> None:
        """Click on the element that has this text."""
        element = (
            "[...document.querySelectorAll('button, a, [role=button], [role=tab], p')]"
            f".find(each => each.textContent.trim() === {json.dumps(text)})"
        )
        self.wait(f"Boolean({element})")
        self.value(f"{element}.click()")

    def picture(self, path: Path) -> None:
        """Keep a picture of the whole page, below the window too."""
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.order("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def printed(self, path: Path) -> int:
        """Keep what is printed on A4, as a PDF; how many sheets."""
        made = self.order(
            "Page.printToPDF",
            preferCSSPageSize=True,
            paperWidth=8.27,
            paperHeight=11.69,
            printBackground=True,
        )
        path.write_bytes(base64.b64decode(made["data"]))
        return len(re.findall(rb"/Type\s*/Page\b", path.read_bytes()))


@contextmanager
def browser() -> Iterator[Page]:
    """A browser with an empty page, in a profile of its own."""
    if PROGRAM is None:
        raise SystemExit("no chromium on the path")
    # processes of a browser that has ended may write into its profile for a moment more
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *_FIXED, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            listening = Path(profile) / "DevToolsActivePort"
            end = time.monotonic() + SECONDS
            while not listening.is_file() or "\n" not in listening.read_text():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{PROGRAM} does not start")
                time.sleep(0.05)
            port = listening.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
                (tab,) = (each for each in json.load(answer) if each["type"] == "page")
            socket = create_connection(tab["webSocketDebuggerUrl"], timeout=SECONDS, suppress_origin=True)
            with closing(socket):
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(60)
