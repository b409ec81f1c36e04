"""A real browser without a window, spoken to by its DevTools protocol over pipes."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO, Any

from tests.tools import need

#: What it is called: by Debian, and elsewhere.
NAMES = ("chromium", "chromium-browser", "google-chrome")

#: Nothing of it goes to a network by itself. `/dev/shm` of a container may be small.
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)


#: Seconds that it has to do what it is asked.
LIMIT_S = 60.0


class Page:
    """The only page of a browser.

    Each call raises TimeoutError if it is not done after `limit_s`, seconds.

    Attributes
    ----------
    requests, errors : list of str
        URLs that it asked for, and what went wrong, since it was opened.
    """

    def __init__(self, to_browser: IO[bytes], from_browser: IO[bytes], limit_s: float = LIMIT_S) -> None:
        self._to, self._from, self._limit_s = to_browser, from_browser, limit_s
        self._number, self._session, self._rest = 0, None, b""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Security"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; what happens meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        end_s = time.monotonic() + self._limit_s
        while True:
            found = self._next(end_s, method)
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def _next(self, end_s: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select([self._from], [], [], max(0.0, end_s - time.monotonic()))[0]:
                raise TimeoutError(f"the browser has not done {what} in {self._limit_s:g} s")
            piece = self._from.read(1 << 20)
            assert piece, "the browser has ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def open(self, path: Path, width: int, *, dark: bool = False, media: str = "", scripts: bool = True) -> None:
        """Open a file, and wait until all of it is there."""
        self.events.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=path.as_uri())
        end_s = time.monotonic() + self._limit_s
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next(end_s, f"opening {path}"))

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def requests(self) -> list[str]:
        """Return what the page asked for, but for what it has in itself."""
        asked = (e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [url for url in asked if not url.startswith("data:")]

    @property
    def errors(self) -> list[str]:
        """Return what the browser complains of."""
        kinds = (
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Page.javascriptDialogOpening",
        )
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]


@contextmanager
def browser() -> Iterator[Page]:
    """Start a browser that forgets everything; the test is skipped where there is none, by name."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        need("chromium")
    with tempfile.TemporaryDirectory(prefix="ledger-browser-", ignore_cleanup_errors=True) as folder:
        to_browser, from_browser = (Path(folder, name) for name in ("to", "from"))
        for pipe in (to_browser, from_browser):
            os.mkfifo(pipe)
        options = (*OPTIONS, f"--user-data-dir={folder}/profile", "--remote-debugging-pipe", "about:blank")
        command = ["sh", "-c", 'exec "$@" 3<to 4>from', "sh", str(program), *options]
        with (
            to_browser.open("r+b", buffering=0) as writing,  # does not wait for who reads
            os.fdopen(os.open(from_browser, os.O_RDONLY | os.O_NONBLOCK), "rb", 0) as reading,
            Popen(command, cwd=folder, stdout=DEVNULL, stderr=DEVNULL) as process,
        ):
            try:
                yield Page(writing, reading)
            finally:
                process.terminate()
                try:
                    process.wait(LIMIT_S)
                except TimeoutExpired:
                    process.kill()
